// The ground from straight above: where the cameras went, the points they saw, and the boxes, which can be dragged here too.

import { context, once, style } from "../dom.js";
import { clamp, length, minus, roundLength } from "../geometry.js";
import { Hand } from "./hand.js";
import { lookedAt, paintBoxes, paintHandles } from "./painting.js";
import { fromAbove } from "./projections.js";
import { column, cornersOf, inGround } from "./world.js";

const MARGIN = 22; // CSS pixels
const CLOSE = 2.4; // how many times the longest side of a box is shown around it, at least

export class Plan {
  zoom = 1;

  constructor(canvas, annotation, sketch) {
    Object.assign(this, { canvas, annotation, sketch });
    this.draw = once(() => this.#draw());
    this.hand = new Hand(canvas, annotation, sketch, { view: () => this.view, draw: this.draw });
    for (const source of [annotation, sketch]) source.addEventListener("change", this.draw);
    new ResizeObserver(this.draw).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.draw);
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  #wheel(event) {
    if (!event.ctrlKey && document.activeElement !== this.canvas) return; // the panel scrolls
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY / 400));
  }

  zoomBy(factor) {
    this.zoom = clamp(this.zoom * factor, 0.5, 12);
    this.draw();
  }

  get view() {
    const { ground, capture } = this.annotation;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!ground || !capture || !width || !this.annotation.posed) return null;
    const { middle, across, down } = this.#extent(ground, capture);
    const scale = Math.min((width - 2 * MARGIN) / across, (height - 2 * MARGIN) / down);
    return { ...fromAbove(ground, middle, scale * this.zoom, width, height), scale: scale * this.zoom };
  }

  /** Of the cameras and what they look at; it does not change while a box is dragged. */
  #extent(ground, capture) {
    const eyes = posesOf(capture).map((pose) => inGround(ground, column(pose, 3)));
    const all = [...eyes, inGround(ground, lookedAt(capture.frames, ground))];
    const range = (axis) => [Math.min(...all.map((p) => p[axis])), Math.max(...all.map((p) => p[axis]))];
    const [[x0, x1], [z0, z1]] = [range(0), range(2)];
    const least = 0.2 * length(minus([x1, 0, z1], [x0, 0, z0])) || 1;
    const middle = this.zoom > 1 && this.#focus(ground) ? this.#focus(ground) : [(x0 + x1) / 2, (z0 + z1) / 2];
    return { middle, across: Math.max(least, x1 - x0), down: Math.max(least, z1 - z0) };
  }

  /** What is zoomed in on: the selected box where it was before it is dragged. */
  #focus(ground) {
    const box = this.annotation.draft?.box || this.annotation.object?.box;
    if (!this.hand.held || !this.focus) this.focus = box ? inGround(ground, box.center) : null;
    return this.focus && [this.focus[0], this.focus[2]];
  }

  /** Zooms in on a box that is new to the eye, so that its handles lie apart. */
  closeIn() {
    this.zoom = 1;
    const box = this.annotation.draft?.box || this.annotation.object?.box;
    const { view } = this;
    if (!view || !box) return;
    const side = Math.max(box.size[0], box.size[2]) * CLOSE;
    this.zoom = clamp(Math.min(this.canvas.clientWidth, this.canvas.clientHeight) / (side * view.scale), 1, 2);
    this.draw();
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width) return;
    const drawing = context(this.canvas, width, height);
    drawing.clearRect(0, 0, width, height);
    const { view } = this;
    if (!view) return;
    this.#paintGrid(drawing, view, width, height);
    this.#paintPoints(drawing, view);
    this.#paintCameras(drawing, view);
    paintBoxes(drawing, view, this.annotation, this.sketch, 0.8);
    paintHandles(drawing, this.hand.handles(), this.hand.held);
  }

  #paintGrid(drawing, view, width, height) {
    const cell = roundLength(70 / view.scale);
    const [x0, z0] = view.groundAt([0, 0]).map((v) => Math.floor(v / cell));
    const [x1, z1] = view.groundAt([width, height]).map((v) => Math.ceil(v / cell));
    const label = (i) => `${Number((i * cell).toPrecision(3))}`;
    const origin = view.groundAt([0, 0]);
    drawing.font = `11px ${style("--sans")}`;
    drawing.strokeStyle = style("--line");
    drawing.fillStyle = style("--muted");
    drawing.lineWidth = 1;
    drawing.beginPath();
    for (let i = x0; i <= x1; i++) {
      const x = Math.round((i * cell - origin[0]) * view.scale) + 0.5;
      drawing.moveTo(x, 0);
      drawing.lineTo(x, height);
      if (x < width - 40) drawing.fillText(label(i), x + 3, height - 8);
    }
    for (let j = z0; j <= z1; j++) {
      const y = Math.round((j * cell - origin[1]) * view.scale) + 0.5;
      drawing.moveTo(0, y);
      drawing.lineTo(width, y);
      if (y > 14 && y < height - 20) drawing.fillText(label(j), 4, y - 3);
    }
    drawing.stroke();
  }

  #paintPoints(drawing, view) {
    const { points = [], colors } = this.annotation.capture;
    drawing.globalAlpha = 0.5;
    points.forEach((point, i) => {
      const [x, y] = view.point(point);
      drawing.fillStyle = colors?.[i] ? `rgb(${colors[i].join(" ")})` : style("--muted");
      drawing.fillRect(x - 0.75, y - 0.75, 1.5, 1.5);
    });
    drawing.globalAlpha = 1;
  }

  #paintCameras(drawing, view) {
    const { capture, frame } = this.annotation;
    drawing.fillStyle = style("--muted");
    for (const pose of posesOf(capture)) {
      const [x, y] = view.point(column(pose, 3));
      drawing.fillRect(x - 1.5, y - 1.5, 3, 3);
    }
    const pose = capture.frames[frame].world_from_camera;
    if (pose) this.#paintCone(drawing, view, pose, capture.frames[frame].camera);
  }

  /** The present camera: where it stands and how much it sees to either side. */
  #paintCone(drawing, view, pose, camera) {
    const [x, y] = view.point(column(pose, 3));
    const ahead = view.point(column(pose, 3).map((v, i) => v + pose[i][2]));
    const way = Math.atan2(ahead[1] - y, ahead[0] - x);
    const half = Math.atan(camera.width / 2 / camera.fx);
    drawing.fillStyle = style("--ink");
    drawing.globalAlpha = 0.12;
    drawing.beginPath();
    drawing.moveTo(x, y);
    drawing.arc(x, y, 46, way - half, way + half);
    drawing.fill();
    drawing.globalAlpha = 1;
    drawing.beginPath();
    drawing.arc(x, y, 4.5, 0, 7);
    drawing.fill();
  }
}

const posesOf = (capture) => capture.frames.map((frame) => frame.world_from_camera).filter(Boolean);

/** A sentence for those who do not see the plan. */
export function planInWords({ object, ground }) {
  if (!object?.box || !ground) return "The ground from above";
  const heights = cornersOf(object.box).map((corner) => inGround(ground, corner));
  const [x, , z] = inGround(ground, object.box.center);
  const lowest = Math.min(...heights.map((p) => p[1]));
  return `The ground from above: ${object.id} at ${x.toFixed(2)} to the right, ${z.toFixed(2)} down, ${lowest.toFixed(2)} above it`;
}
