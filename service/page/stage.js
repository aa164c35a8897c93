// The picture with everything that can be dragged on it: the rectangle, or the ground under it.

import { context, find, findAll, once } from "./dom.js";
import { clamp, degrees } from "./geometry.js";
import { boxProjector, paintBox, paintGrid, paintHorizon, paintLabel } from "./paint.js";

const ROLL_ACROSS = 45; // degrees for a drag as wide as the picture
const NEW_RECT = 6; // CSS pixels before a press becomes a new rectangle
const SIDE_BY_SIDE = "(min-width: 1080px)";
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Stage {
  tool = "rect";
  answer = null; // { box, label, camera }
  withGround = true;

  constructor(root, query) {
    Object.assign(this, { root, query, canvas: find("canvas", root), rect: find(".rect", root), scale: 1 });
    this.draw = once(() => this.#draw());
    query.addEventListener("change", () => this.draw());
    new ResizeObserver(this.draw).observe(root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.draw);
    this.#listenToRect();
    this.canvas.addEventListener("pointerdown", (event) =>
      this.tool === "ground" ? this.#dragGround(event) : this.#dragNew(event),
    );
    root.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  use(tool) {
    this.tool = tool;
    this.root.dataset.tool = tool;
    this.root.dispatchEvent(new Event("use"));
    this.draw();
  }

  show(answer) {
    this.answer = answer;
    this.root.dispatchEvent(new Event("answer"));
    this.draw();
  }

  #fit() {
    const { width, height } = this.query.picture;
    const most = matchMedia(SIDE_BY_SIDE).matches ? this.root.clientHeight : 0.6 * window.innerHeight;
    this.scale = Math.min(this.root.clientWidth / width, Math.max(120, most) / height);
    return [width * this.scale, height * this.scale].map(Math.floor);
  }

  #draw() {
    const { query, canvas } = this;
    if (!query.picture || !this.root.clientWidth) return;
    canvas.hidden = false;
    find(".empty", this.root).hidden = true;
    const [width, height] = this.#fit();
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    const drawing = context(canvas, width, height);
    const at = ([x, y]) => [x * this.scale, y * this.scale];
    drawing.imageSmoothingQuality = "high";
    drawing.drawImage(query.picture.bitmap, 0, 0, width, height);
    if (this.withGround && query.ground.known !== "none") this.#drawGround(drawing, at);
    if (this.withGround && this.answer) this.#drawAnswer(drawing, at, width, height);
    this.#placeRect();
  }

  #drawGround(drawing, at) {
    const strong = this.tool === "ground";
    paintGrid(drawing, at, this.query, strong ? 0.9 : 0.4);
    if (strong) paintHorizon(drawing, at, this.query);
  }

  #drawAnswer(drawing, at, width, height) {
    const { box, label, camera } = this.answer;
    paintBox(drawing, box.corners, box.rotation, boxProjector(camera, at));
    const [xs, ys] = [0, 1].map((axis) => box.corners_px.map((corner) => corner[axis] * this.scale));
    paintLabel(drawing, label, [Math.min(...xs), Math.min(...ys) - 24], width, height);
  }

  #placeRect() {
    const [x0, y0, x1, y1] = this.query.rect.map((v) => v * this.scale);
    const { offsetLeft, offsetTop } = this.canvas;
    const place = { left: x0 + offsetLeft, top: y0 + offsetTop, width: x1 - x0, height: y1 - y0 };
    for (const [name, value] of Object.entries(place)) this.rect.style[name] = `${value}px`;
    const numbers = this.query.rect.map(Math.round);
    this.rect.setAttribute(
      "aria-label",
      `Rectangle, left ${numbers[0]}, top ${numbers[1]}, right ${numbers[2]}, bottom ${numbers[3]} pixels`,
    );
    this.rect.hidden = false;
  }

  #listenToRect() {
    this.rect.addEventListener("pointerdown", (event) => {
      const side = event.target.dataset.side || "";
      const start = this.query.rect;
      this.rect.focus({ preventScroll: true });
      this.#drag(event, (dx, dy, settled) => this.#reshape(start, side, dx, dy, settled));
    });
    this.rect.addEventListener("keydown", (event) => {
      const way = KEYS[event.key];
      if (!way || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      const step = event.altKey ? 1 : Math.max(1, Math.round(this.query.picture.width / 90));
      const [dx, dy] = way.map((part) => part * step);
      this.#reshape(this.query.rect, event.shiftKey ? "se" : "", dx, dy, true);
    });
    for (const handle of findAll("[data-side]", this.rect)) handle.style.cursor = `${handle.dataset.side}-resize`;
  }

  #reshape(start, side, dx, dy, settled) {
    if (!side) return this.query.moveRect(start, dx, dy, settled);
    const [x0, y0, x1, y1] = start;
    const west = side.includes("w"),
      east = side.includes("e"),
      north = side.includes("n"),
      south = side.includes("s");
    this.query.setRect([x0 + west * dx, y0 + north * dy, x1 + east * dx, y1 + south * dy], settled);
  }

  #dragNew(event) {
    const start = this.#pixel(event);
    this.#drag(event, (dx, dy, settled) => {
      if (Math.hypot(dx, dy) * this.scale < NEW_RECT) return;
      this.query.setRect([start[0], start[1], start[0] + dx, start[1] + dy], settled);
    });
  }

  /** The ground follows the pointer: up and down tilts the camera, across turns it. */
  #dragGround(event) {
    const { camera, ground, picture } = this.query;
    const [, start] = this.#pixel(event);
    const angle = (y) => degrees(Math.atan((y - camera.cy) / camera.fy));
    this.#drag(event, (dx, dy, settled) => {
      const pitch = clamp(ground.pitch - angle(start + dy) + angle(start), 0, 90);
      const roll = clamp(ground.roll + (ROLL_ACROSS * dx) / picture.width, -45, 45);
      this.query.setGround({ pitch, roll }, settled);
    });
  }

  #wheel(event) {
    if (this.tool !== "ground" || !this.query.picture) return;
    event.preventDefault();
    const height = clamp(this.query.ground.height * Math.exp(-event.deltaY / 800), 0.05, 5);
    this.query.setGround({ height });
  }

  /** Calls `move(dx, dy, settled)` in the picture's pixels while the pointer is down. */
  #drag(event, move) {
    if (event.button !== 0 || !this.query.picture) return;
    event.preventDefault();
    const target = event.currentTarget,
      from = [event.clientX, event.clientY];
    target.setPointerCapture(event.pointerId);
    const step = (settled) => (e) =>
      move((e.clientX - from[0]) / this.scale, (e.clientY - from[1]) / this.scale, settled);
    const during = step(false);
    const end = (e) => {
      target.removeEventListener("pointermove", during);
      target.removeEventListener("pointerup", end);
      target.removeEventListener("pointercancel", end);
      step(true)(e);
    };
    target.addEventListener("pointermove", during);
    target.addEventListener("pointerup", end);
    target.addEventListener("pointercancel", end);
  }

  #pixel(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [(event.clientX - left) / this.scale, (event.clientY - top) / this.scale];
  }
}
