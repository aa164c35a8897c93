// Mouse, pen and finger on a view: drawing a new box, or taking hold of one that is there.

import { bodyHandle, handlesOf, isOn } from "./handles.js";

const GRAB = { mouse: 11, pen: 14, touch: 26 }; // CSS pixels
const STILL = 2; // CSS pixels before a press becomes a drag
const apart = (a, b) => [a[0] - b[0], a[1] - b[1]];

/** Listens to a pointer that is down until it is up; returns what ends that before. */
export function follow(canvas, { pointerId }, move, ended) {
  const listening = new AbortController();
  const own = (action) => (event) => event.pointerId === pointerId && action(event);
  const end = own((event) => {
    listening.abort();
    ended(event);
  });
  canvas.setPointerCapture(pointerId);
  canvas.addEventListener("pointermove", own(move), { signal: listening.signal });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, end, { signal: listening.signal });
  return listening;
}

export class Hand {
  held = null; // the name of the handle that is dragged
  loupe = null; // where a finger covers the picture
  #listening = null; // to the drag that goes on

  /** `view()` is how the canvas shows the world now, or null; `free(event)` is told of presses on nothing. */
  constructor(canvas, annotation, sketch, { view, free = () => {}, draw }) {
    Object.assign(this, { canvas, annotation, sketch, view, free, draw });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#over(event));
    canvas.addEventListener("pointerleave", () => (canvas.style.cursor = ""));
  }

  /** What of the selected box, or of the draft, can be dragged in this view. */
  handles() {
    const view = this.view();
    const box = this.#box;
    return view && box && !this.sketch.active ? this.#handlesOf(box, view) : [];
  }

  /** The bottom stays on the ground, and out of the way of moving the box, unless the ground is not sure. */
  #handlesOf(box, view) {
    const { isGroundSure } = this.annotation;
    return handlesOf(box, this.#up, view).filter(({ name }) => name !== "bottom" || !isGroundSure);
  }

  get #box() {
    return this.annotation.draft?.box || this.annotation.object?.box || null;
  }

  get #up() {
    return this.annotation.ground?.y || this.#box.rotation.map((row) => row[1]);
  }

  #pixel({ clientX, clientY }) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [clientX - left, clientY - top];
  }

  #down(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    const view = this.view();
    const pixel = this.#pixel(event);
    this.canvas.focus({ preventScroll: true });
    if (view && this.sketch.active) return this.#sketchOn(event, view, pixel);
    const handle = view && this.#under(pixel, view, event.pointerType);
    if (handle) this.#dragHandle(event, view, pixel, handle);
    else if (!(view && this.#selectAt(pixel, view))) this.free(event);
  }

  #sketchOn(event, view, pixel) {
    event.preventDefault();
    this.sketch.press(view, pixel);
    this.#follow(event, (at, ended) => (ended ? this.sketch.release(view, at) : this.sketch.over(view, at)));
  }

  #dragHandle(event, view, pixel, handle) {
    event.preventDefault();
    const offset = apart(pixel, handle.at);
    let dragged = false; // a click leaves the box, and whether it is accepted, as they are
    this.#follow(event, (at, ended) => {
      dragged ||= Math.hypot(...apart(at, pixel)) >= STILL;
      this.held = ended ? null : handle.name;
      if (!dragged) return;
      this.annotation.takeDraft(); // a draft that is dragged is one's own
      const box = handle.drag(view.ray(apart(at, offset)));
      this.annotation.edit({ box: box || this.annotation.object.box }, ended);
    });
  }

  #under(pixel, view, kind) {
    const box = this.#box;
    if (!box) return null;
    const far = ({ at }) => Math.hypot(at[0] - pixel[0], at[1] - pixel[1]);
    const near = this.#handlesOf(box, view).filter((handle) => far(handle) < (GRAB[kind] || GRAB.mouse));
    if (near.length) return near.reduce((best, handle) => (far(handle) < far(best) ? handle : best));
    return isOn(box, view, pixel) ? bodyHandle(box, this.#up, view) : null;
  }

  #selectAt(pixel, view) {
    const { objects } = this.annotation.present;
    const at = objects.findIndex(({ box }) => box && isOn(box, view, pixel));
    if (at >= 0) this.annotation.select(at);
    return at >= 0;
  }

  #over(event) {
    const view = this.view();
    if (!view || event.buttons || event.pointerType === "touch") return;
    const pixel = this.#pixel(event);
    if (this.sketch.active) return this.sketch.over(view, pixel);
    const handle = this.#under(pixel, view, event.pointerType);
    this.canvas.style.cursor = handle ? (handle.name === "move" ? "move" : "grab") : "";
  }

  /** Calls `move(pixel, ended)` until the pointer is up. */
  #follow(event, move) {
    const touching = event.pointerType === "touch";
    const step = (ended) => (e) => {
      const at = this.#pixel(e);
      this.loupe = touching && !ended ? at : null;
      move(at, ended);
      this.draw();
    };
    this.#listening = follow(this.canvas, event, step(false), step(true));
    this.loupe = touching ? this.#pixel(event) : null;
    this.draw();
  }

  /** Ends a drag as if it had not begun: a second finger means something else. */
  abandon() {
    if (!this.#listening || this.#listening.signal.aborted) return;
    this.#listening.abort();
    [this.held, this.loupe] = [null, null];
    if (this.sketch.active) this.sketch.unpress();
    else this.annotation.rollBack();
  }
}
