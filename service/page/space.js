// The box, the ground and the camera in a small view of their own that can be turned.

import { context, find, once, reducedMotion, style } from "./dom.js";
import { clamp, cross, dot, groundAxes, length, minus, plus, roundLength, scaled, unit } from "./geometry.js";
import { paintBox } from "./paint.js";

const START = { azimuth: 0.9, elevation: 0.36, zoom: 1 };
const TURN_A_SECOND = 0.25; // radians
const VIEW = 0.36; // tangent of half of the angle of view
const FILLED = 0.8; // of the canvas

export class Space {
  #scene = null;
  #turning = false;
  #last = 0;

  constructor(root) {
    Object.assign(this, { root, canvas: find("canvas", root), ...START });
    this.draw = once(() => this.#draw());
    new ResizeObserver(this.draw).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.draw);
    this.#listen();
  }

  /** `box` as the service answers it; `up` against gravity, `height` of the camera above the ground, metres. */
  show(box, up, height, camera, picture) {
    const { right, away } = groundAxes(up);
    // The ground's frame: x right, y up, z towards the camera, its origin under the camera.
    const axes = [right, up, scaled(away, -1)];
    const turned = (v) => axes.map((axis) => dot(axis, v));
    const place = (p) => plus(turned(p), [0, height, 0]);
    const columns = [0, 1, 2].map((j) => turned(box.rotation.map((row) => row[j])));
    const rotation = [0, 1, 2].map((i) => columns.map((column) => column[i]));
    const reach = 0.32 * length(box.center);
    const rays = [
      [0, 0],
      [1, 0],
      [1, 1],
      [0, 1],
    ].map(([u, v]) => [(u * picture.width - camera.cx) / camera.fx, (v * picture.height - camera.cy) / camera.fy, 1]);
    const corners = box.corners.map(place),
      eye = place([0, 0, 0]),
      frustum = rays.map((ray) => place(scaled(ray, reach)));
    const extent = extentOf([...corners, ...frustum, eye, [eye[0], 0, eye[2]]]);
    this.#scene = { corners, rotation, eye, center: place(box.center), frustum, extent };
    this.#turning = !reducedMotion();
    this.draw();
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      this.#turning = false;
      canvas.setPointerCapture(event.pointerId);
      let [x, y] = [event.clientX, event.clientY];
      const move = (e) => {
        this.#turn((e.clientX - x) / 120, (e.clientY - y) / 160);
        [x, y] = [e.clientX, e.clientY];
      };
      canvas.addEventListener("pointermove", move);
      for (const end of ["pointerup", "pointercancel"])
        canvas.addEventListener(end, () => canvas.removeEventListener("pointermove", move), { once: true });
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.#zoom(Math.exp(-event.deltaY / 600));
      },
      { passive: false },
    );
    canvas.addEventListener("keydown", (event) => {
      const turn = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.08], ArrowDown: [0, 0.08] }[event.key];
      const zoom = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 }[event.key];
      if (!turn && !zoom) return;
      event.preventDefault();
      this.#turning = false;
      if (turn) this.#turn(...turn);
      else this.#zoom(zoom);
    });
  }

  #turn(azimuth, elevation) {
    this.azimuth += azimuth;
    this.elevation = clamp(this.elevation + elevation, -0.1, 1.5);
    this.draw();
  }

  #zoom(factor) {
    this.zoom = clamp(this.zoom * factor, 0.4, 5);
    this.draw();
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!this.#scene || !width) return;
    this.#advance();
    const drawing = context(this.canvas, width, height);
    drawing.clearRect(0, 0, width, height);
    const view = this.#view(width, height);
    this.#drawGround(drawing, view);
    this.#drawCamera(drawing, view);
    paintBox(drawing, this.#scene.corners, this.#scene.rotation, view.point, view.eye, { weight: 0.9 });
    if (this.#turning) this.draw();
  }

  #advance() {
    const now = performance.now();
    if (this.#turning && this.#last) this.azimuth += TURN_A_SECOND * Math.min(0.1, (now - this.#last) / 1000);
    this.#last = this.#turning ? now : 0;
  }

  /** How the scene is looked at: where the eye is, and where a point is drawn. */
  #view(width, height) {
    const { points, target, around, tall } = this.#scene.extent;
    const [a, e] = [this.azimuth, this.elevation];
    const back = [Math.sin(a) * Math.cos(e), Math.sin(e), Math.cos(a) * Math.cos(e)];
    const right = unit(cross([0, 1, 0], back)),
      above = cross(back, right);
    const seen = tall * Math.cos(e) + around * Math.abs(Math.sin(e)); // from every azimuth the same
    const focal = height / 2 / VIEW;
    const scale = this.zoom * FILLED * Math.min(width / 2 / around, height / 2 / seen);
    const eye = plus(target, scaled(back, focal / scale));
    const flat = (p) => {
      const v = minus(p, eye);
      const depth = Math.max(0.05, -dot(v, back));
      return [(focal * dot(v, right)) / depth, (-focal * dot(v, above)) / depth];
    };
    // What is near looks larger: the middle of what is seen is not the middle of the space.
    const [[x0, x1], [y0, y1]] = ranges(points.map(flat));
    const shift = [(width - x0 - x1) / 2, (height - y0 - y1) / 2];
    return { eye, point: (p) => flat(p).map((v, i) => v + shift[i]) };
  }

  #drawGround(drawing, { point }) {
    const { center, eye } = this.#scene;
    const cell = roundLength(length(minus(eye, center)) / 3);
    const [x0, x1] = [Math.min(center[0], 0) - cell, Math.max(center[0], 0) + cell].map((x, i) =>
      i ? Math.ceil(x / cell) : Math.floor(x / cell),
    );
    const [z0, z1] = [Math.floor(center[2] / cell - 1), 0];
    drawing.lineWidth = 1;
    drawing.strokeStyle = style("--grid");
    for (let i = x0; i <= x1; i++) stroke(drawing, point([i * cell, 0, z0 * cell]), point([i * cell, 0, z1 * cell]));
    for (let j = z0; j <= z1; j++) stroke(drawing, point([x0 * cell, 0, j * cell]), point([x1 * cell, 0, j * cell]));
    this.#drawAxes(drawing, point, { cell, x0, x1, z0, z1 });
  }

  /** Metres from under the camera: to the right, up, and away. */
  #drawAxes(drawing, point, { cell, x0, x1, z0, z1 }) {
    const top = Math.max(1, Math.floor(this.#scene.eye[1] / cell));
    const metres = (count) => `${Number((count * cell).toPrecision(3))}`;
    drawing.strokeStyle = drawing.fillStyle = style("--muted");
    drawing.font = `11px ${style("--sans")}`;
    drawing.textAlign = "center";
    stroke(drawing, point([x0 * cell, 0, z1 * cell]), point([x1 * cell, 0, z1 * cell]));
    stroke(drawing, point([x1 * cell, 0, z1 * cell]), point([x1 * cell, 0, z0 * cell]));
    stroke(drawing, point([x0 * cell, 0, z0 * cell]), point([x0 * cell, top * cell, z0 * cell]));
    for (let i = x0; i < x1; i++) label(drawing, metres(i), point([i * cell, 0, (z1 + 0.3) * cell]));
    for (let j = z0; j < z1; j++) label(drawing, metres(-j), point([(x1 + 0.3) * cell, 0, j * cell]));
    for (let k = 1; k <= top; k++) label(drawing, metres(k), point([(x0 - 0.2) * cell, k * cell, (z0 - 0.2) * cell]));
  }

  #drawCamera(drawing, { point }) {
    const { eye, frustum, center } = this.#scene;
    const [tip, foot, middle] = [eye, [eye[0], 0, eye[2]], center].map(point);
    const ends = frustum.map(point);
    drawing.strokeStyle = style("--ink");
    drawing.lineWidth = 1.25;
    ends.forEach((end, i) => {
      stroke(drawing, tip, end);
      stroke(drawing, end, ends[(i + 1) % 4]);
    });
    drawing.setLineDash([2, 4]);
    drawing.strokeStyle = style("--muted");
    stroke(drawing, tip, foot);
    stroke(drawing, tip, middle);
    drawing.setLineDash([]);
    drawing.fillStyle = style("--ink");
    drawing.beginPath();
    drawing.arc(...tip, 3, 0, 7);
    drawing.fill();
    drawing.textAlign = "right";
    drawing.fillText("camera", tip[0] - 8, tip[1] + 4);
    drawing.textAlign = "left";
    const [x, y] = point(plus(scaled(eye, 0.7), scaled(center, 0.3)));
    drawing.fillStyle = style("--accent-ink");
    drawing.font = `600 12px ${style("--sans")}`;
    drawing.fillText(`${length(minus(eye, center)).toFixed(2)} m`, x + 6, y - 5);
  }
}

/** [least, greatest] of each coordinate. */
const ranges = (points) =>
  points[0].map((_, i) => [Math.min(...points.map((p) => p[i])), Math.max(...points.map((p) => p[i]))]);

/** The upright cylinder around points: its middle, its radius and half of its height. */
function extentOf(points) {
  const range = ranges(points);
  const target = range.map(([low, high]) => (low + high) / 2);
  const around = Math.max(...points.map((p) => Math.hypot(p[0] - target[0], p[2] - target[2])));
  return { points, target, around, tall: (range[1][1] - range[1][0]) / 2 };
}

function stroke(drawing, a, b) {
  drawing.beginPath();
  drawing.moveTo(...a);
  drawing.lineTo(...b);
  drawing.stroke();
}

const label = (drawing, text, [x, y]) => drawing.fillText(text, x, y + 4);
