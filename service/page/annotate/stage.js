// The frame, large: the ground, the boxes, and what can be dragged on it.

import { context, find, once, style } from "../dom.js";
import { clamp } from "../geometry.js";
import { paintLabel, strokeCased } from "../paint.js";
import { Hand, follow } from "./hand.js";
import { gridOf, paintBoxes, paintGround, paintHandles } from "./painting.js";
import { Pictures } from "./pictures.js";
import { throughCamera } from "./projections.js";
import { cornersOf } from "./world.js";

const SIDE_BY_SIDE = "(min-width: 1080px)";
const LOUPE = { radius: 56, zoom: 2.5, away: 84 };
const MOST_ZOOM = 8;
const RETRY_MS = 2000;
const LEAST_RECT = 12; // CSS pixels: less is a slip

/** Dispatches `rect`, pixels of the picture, where one is dragged while `pointing`. */
export class Stage extends EventTarget {
  pointing = false;
  zoom = 1;
  shift = [0, 0]; // of the picture on the canvas, CSS pixels
  #bitmap = null;
  #shown = ""; // which frame the bitmap is of
  #size = [0, 0];
  #rect = null; // that is dragged: two corners on the canvas

  constructor(root, annotation, sketch) {
    super();
    Object.assign(this, { root, annotation, sketch, canvas: find("canvas", root), scale: 1 });
    this.pictures = new Pictures(1280, "large");
    this.draw = once(() => this.#draw());
    this.hand = new Hand(this.canvas, annotation, sketch, {
      view: () => this.view,
      free: (event) => (this.pointing ? this.#point(event) : this.#pan(event)),
      draw: this.draw,
    });
    for (const source of [annotation, sketch]) source.addEventListener("change", this.draw);
    new ResizeObserver(this.draw).observe(root);
    this.canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.canvas.addEventListener("touchstart", (event) => this.#pinch(event), { passive: true });
  }

  get frame() {
    return this.annotation.capture?.frames[this.annotation.frame];
  }

  get view() {
    return this.frame?.world_from_camera ? throughCamera(this.frame, this.scale, this.shift, this.zoom) : null;
  }

  /** Zooms about a point of the canvas; 1 shows the whole picture. */
  zoomBy(factor, [x, y] = this.#size.map((side) => side / 2)) {
    const zoom = clamp(this.zoom * factor, 1, MOST_ZOOM);
    const ratio = zoom / this.zoom;
    this.zoom = zoom;
    this.#move([x - (x - this.shift[0]) * ratio, y - (y - this.shift[1]) * ratio]);
  }

  #move(shift) {
    this.shift = shift.map((v, i) => clamp(v, this.#size[i] * (1 - this.zoom), 0));
    this.draw();
  }

  async #load() {
    const { capture, frame } = this.annotation;
    const wanted = `${capture.name}/${frame}`;
    if (this.#shown === wanted) return;
    this.#shown = wanted;
    this.root.setAttribute("aria-busy", "true");
    const bitmap = await this.pictures.of(capture.name, frame).catch(() => null);
    if (this.#shown !== wanted) return;
    this.#bitmap = bitmap;
    if (!bitmap && this.frame.width) setTimeout(() => this.#loadAgain(wanted), RETRY_MS); // the server knows the picture
    this.root.removeAttribute("aria-busy");
    find(".empty", this.root).textContent = bitmap ? "" : "The picture of this frame cannot be loaded.";
    this.draw();
  }

  #loadAgain(wanted) {
    if (this.#shown === wanted) this.#shown = "";
    this.draw();
  }

  #fit() {
    const { width, height } = this.frame.camera || this.frame;
    const most = matchMedia(SIDE_BY_SIDE).matches ? this.root.clientHeight : 0.62 * window.innerHeight;
    this.scale = Math.min(this.root.clientWidth / width, Math.max(200, most) / height);
    this.#size = [width * this.scale, height * this.scale].map(Math.floor);
    return this.#size;
  }

  #draw() {
    if (!this.frame || !this.root.clientWidth) return;
    this.#load();
    const [width, height] = this.#fit();
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    const drawing = context(this.canvas, width, height);
    drawing.clearRect(0, 0, width, height);
    this.#paint(drawing, width, height);
    if (this.#rect) this.#paintRect(drawing);
    if (this.hand.loupe) this.#paintLoupe(drawing, this.hand.loupe, width);
  }

  #paint(drawing, width, height) {
    const { annotation, sketch, view } = this;
    drawing.imageSmoothingQuality = "high";
    if (this.#bitmap) drawing.drawImage(this.#bitmap, ...this.shift, width * this.zoom, height * this.zoom);
    if (!view) return;
    if (annotation.ground)
      paintGround(drawing, view, annotation.ground, gridOf(annotation), sketch.active ? 0.8 : 0.55);
    paintBoxes(drawing, view, annotation, sketch);
    this.#paintName(drawing, view, width, height);
    paintHandles(drawing, this.hand.handles(), this.hand.held);
  }

  #paintName(drawing, view, width, height) {
    const { draft, object } = this.annotation;
    const box = draft?.box || object?.box;
    const points = box && !this.sketch.active ? cornersOf(box).map(view.point) : [null];
    if (points.includes(null)) return;
    const [x, y] = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis])));
    const name = draft ? `draft: ${draft.category}  ${Math.round(100 * draft.confidence)} %` : object.id;
    paintLabel(drawing, name, [x, y - 30], width, height);
  }

  /** What the finger hides, larger, above it. */
  #paintLoupe(drawing, [x, y], width) {
    const { radius, zoom, away } = LOUPE;
    const middle = [clamp(x, radius + 4, width - radius - 4), y > away + radius ? y - away : y + away];
    drawing.save();
    drawing.beginPath();
    drawing.arc(...middle, radius, 0, 7);
    drawing.clip();
    drawing.fillStyle = style("--well");
    drawing.fill();
    drawing.translate(...middle);
    drawing.scale(zoom, zoom);
    drawing.translate(-x, -y);
    this.#paint(drawing, ...this.#size);
    drawing.restore();
    drawing.save();
    drawing.strokeStyle = "#fff";
    drawing.lineWidth = 2;
    drawing.shadowColor = "rgba(0,0,0,.6)";
    drawing.shadowBlur = 4;
    drawing.beginPath();
    drawing.arc(...middle, radius, 0, 7);
    for (const [dx, dy] of [
      [8, 0],
      [-8, 0],
      [0, 8],
      [0, -8],
    ]) {
      drawing.moveTo(middle[0] + dx / 2, middle[1] + dy / 2);
      drawing.lineTo(middle[0] + dx * 1.5, middle[1] + dy * 1.5);
    }
    drawing.stroke();
    drawing.restore();
  }

  #wheel(event) {
    if (!this.frame || !(event.ctrlKey || matchMedia(SIDE_BY_SIDE).matches)) return; // below each other, the page scrolls
    event.preventDefault();
    const { left, top } = this.canvas.getBoundingClientRect();
    this.zoomBy(Math.exp(-event.deltaY / 400), [event.clientX - left, event.clientY - top]);
  }

  #pan(event) {
    if (this.zoom === 1) return;
    const [from, start] = [[event.clientX, event.clientY], this.shift];
    const move = (e) => this.#move([start[0] + e.clientX - from[0], start[1] + e.clientY - from[1]]);
    follow(this.canvas, event, move, move);
  }

  /** A rectangle round an object. */
  #point(event) {
    const at = (e) => {
      const { left, top } = this.canvas.getBoundingClientRect();
      return [e.clientX - left, e.clientY - top].map((v, i) => clamp(v, 0, this.#size[i]));
    };
    const from = at(event);
    const move = (e) => {
      this.#rect = [from, at(e)];
      this.draw();
    };
    follow(this.canvas, event, move, () => this.#pointed());
  }

  #pointed() {
    const corners = this.#rect;
    this.#rect = null;
    this.draw();
    if (!corners) return;
    const ends = [0, 1].map((i) =>
      corners.map((p) => (p[i] - this.shift[i]) / this.scale / this.zoom).sort((a, b) => a - b),
    );
    const rect = [ends[0][0], ends[1][0], ends[0][1], ends[1][1]];
    const least = LEAST_RECT / this.scale;
    if (rect[2] - rect[0] > least && rect[3] - rect[1] > least)
      this.dispatchEvent(new CustomEvent("rect", { detail: rect }));
  }

  #paintRect(drawing) {
    const [[x0, y0], [x1, y1]] = this.#rect;
    const corners = [
      [x0, y0],
      [x1, y0],
      [x1, y1],
      [x0, y1],
    ];
    strokeCased(
      drawing,
      corners.map((corner, i) => [corner, corners[(i + 1) % 4]]),
      1.5,
      [],
      "#ffffff",
    );
  }

  /** Two fingers zoom. */
  #pinch(event) {
    if (event.touches.length !== 2) return;
    this.hand.abandon();
    const spread = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    let before = spread(event.touches);
    const move = (e) => {
      if (e.touches.length !== 2) return;
      const { left, top } = this.canvas.getBoundingClientRect();
      const [a, b] = e.touches;
      this.zoomBy(spread(e.touches) / before, [(a.clientX + b.clientX) / 2 - left, (a.clientY + b.clientY) / 2 - top]);
      before = spread(e.touches);
    };
    this.canvas.addEventListener("touchmove", move);
    for (const end of ["touchend", "touchcancel"])
      this.canvas.addEventListener(end, () => this.canvas.removeEventListener("touchmove", move), { once: true });
  }
}
