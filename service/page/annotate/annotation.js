// What is annotated: the ground and the objects of one capture, with every step that can be taken back.

import { carried, groundFrame } from "./world.js";

export const UNNAMED = "unnamed"; // a category that is still to be said

const MOST_STEPS = 200;
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Dispatches `change` at whatever is to be drawn anew, and `settled` once a change of the annotation is complete. */
export class Annotation extends EventTarget {
  capture = null;
  present = { plane: null, objects: [] };
  selected = -1;
  frame = 0;
  draft = null;
  #past = [];
  #future = [];
  #before = null; // the state at the beginning of a drag
  #grounds = []; // { plane, plane_from } that have been the capture's: how they were found is known

  open(capture, annotation) {
    this.#grounds = [capture];
    Object.assign(this, { capture, present: annotation, frame: 0, draft: null });
    [this.#past, this.#future, this.#before] = [[], [], null];
    this.selected = annotation.objects.length ? 0 : -1;
    this.#tell();
  }

  get object() {
    return this.present.objects[this.selected] || null;
  }

  get ground() {
    return this.present.plane && groundFrame(this.present.plane);
  }

  /** Earlier states { plane, plane_from }: one of their grounds may come back. */
  know(states) {
    this.#grounds = [this.capture, ...states];
  }

  get #known() {
    return this.#grounds.find(({ plane }) => plane && same(plane, this.present.plane));
  }

  /** How the ground was found, in words; null where that is not known, or a person has set it. */
  get groundFrom() {
    return this.#known?.plane_from || null;
  }

  /** Whether a person has set the ground since the capture was read. */
  get isGroundSet() {
    return this.present.plane !== null && !this.#known;
  }

  /** Whether the ground was seen or set, not guessed. */
  get isGroundSure() {
    if (this.isGroundSet) return true;
    return this.present.plane !== null && !/guess/i.test(this.groundFrom || "");
  }

  get pose() {
    return this.capture?.frames[this.frame]?.world_from_camera || null;
  }

  /** Whether any frame has a camera pose: without one, nothing can be drawn in space. */
  get posed() {
    return this.capture?.frames.some((frame) => frame.world_from_camera) || false;
  }

  /** Every state is a new one; those of a drag count as one step once it is settled. */
  set(next, settled = true) {
    this.#before ||= this.present;
    this.present = next;
    if (settled) this.#settle();
    this.#tell();
  }

  /** Forgets what a drag has changed so far. */
  rollBack() {
    if (this.#before) this.present = this.#before;
    this.#before = null;
    this.#tell();
  }

  #settle() {
    const before = this.#before;
    this.#before = null;
    if (same(before, this.present)) return;
    this.#past = [...this.#past, before].slice(-MOST_STEPS);
    this.#future = [];
    this.dispatchEvent(new Event("settled"));
  }

  /** Changes the selected object. One whose box changes is to be accepted anew. */
  edit(changes, settled = true) {
    if (!this.object) return;
    const object = { ...this.object, ...("box" in changes ? { accepted: false } : {}), ...changes };
    this.set({ ...this.present, objects: this.present.objects.with(this.selected, object) }, settled);
  }

  #add(object) {
    const objects = [...this.present.objects, object];
    this.selected = objects.length - 1;
    this.set({ ...this.present, objects });
  }

  remove() {
    const objects = this.present.objects.filter((_, i) => i !== this.selected);
    this.selected = Math.min(this.selected, objects.length - 1);
    this.set({ ...this.present, objects });
  }

  /** The ground moves, and what stands on it goes along. */
  setPlane(plane, settled = true) {
    const before = (this.#before || this.present).plane;
    const objects = (this.#before || this.present).objects;
    const along = (object) =>
      object.box && before ? { ...object, accepted: false, box: carried(object.box, before, plane) } : object;
    this.set({ plane, objects: objects.map(along) }, settled);
  }

  /** Says that the ground lies where it does: it is given by another `point` of it, so as a person's. */
  confirmPlane(point) {
    this.set({ ...this.present, plane: { ...this.present.plane, point } });
  }

  select(index) {
    this.selected = index;
    this.#tell();
  }

  show(frame) {
    this.frame = Math.max(0, Math.min(frame, this.capture.frames.length - 1));
    this.#tell();
  }

  propose(draft) {
    this.draft = draft;
    this.#tell();
  }

  /** A new box: of the selected object where it has none yet, else of a new one. */
  place(box, category, accepted = false) {
    this.draft = null;
    if (!this.object || this.object.box) return this.#add({ ...this.#named(category), box, accepted });
    const known = this.object.category === UNNAMED && category ? { category } : {};
    this.edit({ ...known, box, accepted });
  }

  /** Makes the draft, if there is one, a box of one's own. */
  takeDraft(accepted = false) {
    if (this.draft) this.place(this.draft.box, this.draft.category, accepted);
  }

  /** Another state as a whole: an earlier one, or someone else's. */
  take(state) {
    this.selected = Math.min(Math.max(0, this.selected), state.objects.length - 1);
    this.set(state);
  }

  /** A new object's id and category: the capture's name, with a number from the second on. */
  #named(category) {
    const taken = new Set(this.present.objects.map(({ id }) => id));
    const ids = [this.capture.name, ...Array.from(taken, (_, i) => `${this.capture.name}-${i + 2}`)];
    const id = ids.find((candidate) => !taken.has(candidate));
    return { id, category: category || this.object?.category || UNNAMED };
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  undo() {
    if (!this.canUndo) return;
    this.#future = [this.present, ...this.#future];
    this.#restore(this.#past.at(-1));
    this.#past = this.#past.slice(0, -1);
    this.#told();
  }

  redo() {
    if (!this.canRedo) return;
    this.#past = [...this.#past, this.present];
    this.#restore(this.#future[0]);
    this.#future = this.#future.slice(1);
    this.#told();
  }

  #restore(state) {
    this.present = state;
    const last = state.objects.length - 1;
    this.selected = last < 0 ? -1 : Math.min(Math.max(0, this.selected), last);
  }

  #told() {
    this.dispatchEvent(new Event("settled"));
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}
