// A box while it is drawn: two corners of one side of its base, its depth, its height.

import { alongAxis, baseOf, boxOn, LEAST_SIDE, meets } from "./world.js";

const NEAR_PX = 6; // a press that moved less is a click
export const STEPS = [
  "Click the ground at one end of the object's front, or drag along it.",
  "Now the other end of the front.",
  "Now how deep: the back.",
  "Now how tall: move up to the top.",
];

/** Dispatches `change`, and `done` with the box as its detail. Pixels are of the view's canvas. */
export class Sketch extends EventTarget {
  active = false;
  points = [];
  hover = null;
  tall = 0;
  #pressed = null;

  constructor(annotation) {
    super();
    this.annotation = annotation;
  }

  begin() {
    Object.assign(this, { active: true, points: [], hover: null, tall: 0 });
    this.#tell();
  }

  cancel() {
    Object.assign(this, { active: false, points: [], hover: null });
    this.#tell();
  }

  /** One point less; false where there is none. */
  back() {
    if (!this.points.length) return false;
    this.points = this.points.slice(0, -1);
    this.#tell();
    return true;
  }

  get step() {
    return this.points.length;
  }

  press(view, pixel) {
    this.#pressed = this.step === 0 ? pixel : null;
    this.over(view, pixel);
    if (this.step === 0 && this.hover) this.points = [this.hover];
    this.#tell();
  }

  /** The press that goes on places nothing. */
  unpress() {
    if (this.#pressed) this.points = [];
    this.#pressed = this.hover = null;
    this.#tell();
  }

  over(view, pixel) {
    const { y: up, origin } = this.annotation.ground;
    const ray = view.ray(pixel);
    if (this.step < 3) this.hover = meets(ray, origin, up);
    else this.tall = Math.max(LEAST_SIDE, alongAxis(ray, this.points[2], up) ?? this.tall);
    this.#tell();
  }

  release(view, pixel) {
    const first = this.#pressed;
    this.#pressed = null;
    if (first && Math.hypot(pixel[0] - first[0], pixel[1] - first[1]) < NEAR_PX) return;
    this.over(view, pixel);
    if (this.step === 3) this.#finish();
    else if (this.step && this.hover) this.points = [...this.points, this.hover];
    this.#tell();
  }

  #finish() {
    if (this.tall <= LEAST_SIDE) return;
    const box = this.shape.box;
    this.active = false;
    this.dispatchEvent(new CustomEvent("done", { detail: box }));
  }

  /** What there is of it: { edge } then { base } then { box }, in the world. */
  get shape() {
    const up = this.annotation.ground.y;
    const points = this.step < 3 && this.hover ? [...this.points, this.hover] : this.points;
    if (points.length < 3) return { edge: points };
    const base = baseOf(up, ...points);
    return this.step < 3 ? { base } : { base, box: boxOn(up, base, this.tall) };
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}
