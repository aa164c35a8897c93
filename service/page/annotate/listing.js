// The captures: which are annotated, which are not, which cannot be read.

import * as api from "../api.js";
import { find, h } from "../dom.js";
import { isKept } from "./saving.js";
import { imageOf } from "./server.js";

const THUMB = 96;

/** `open(name)` is called where one is chosen. */
export class Listing {
  #captures = [];
  #thumbs = new Map(); // by name, made once: they do not flicker

  constructor(root, open) {
    Object.assign(this, { root, open, opened: null });
    find("#only", root).addEventListener("change", () => this.#draw());
  }

  show({ captures, categories, objects }) {
    this.#captures = captures;
    suggest("#categories", categories);
    suggest("#ids", objects);
    this.#draw();
  }

  /** What the page knows better than the last listing: the capture's own numbers. */
  update(name, objects) {
    const boxes = objects.filter(({ box }) => box);
    const counts = {
      objects: objects.length,
      boxes: boxes.length,
      accepted: boxes.filter(({ accepted }) => accepted).length,
    };
    this.#captures = this.#captures.map((item) => (item.name === name ? { ...item, ...counts } : item));
    this.#draw();
  }

  mark(name) {
    this.opened = name;
    this.#draw();
  }

  /** The first that is still to be done, from the open one on. */
  get next() {
    const at = this.#captures.findIndex(({ name }) => name === this.opened);
    const order = [...this.#captures.slice(at + 1), ...this.#captures.slice(0, Math.max(0, at))];
    return order.find((item) => !isTorn(item) && !isDone(item))?.name || null;
  }

  get first() {
    return (
      this.#captures.find((item) => !isTorn(item) && !isDone(item)) || this.#captures.find((item) => !isTorn(item))
    )?.name;
  }

  #draw() {
    const list = find("#captures", this.root);
    const focused = document.activeElement?.dataset?.name;
    const shown = this.#captures.filter(
      (item) => !find("#only", this.root).checked || !isDone(item) || item.name === this.opened,
    );
    const done = this.#captures.filter(isDone).length;
    find("#opened", this.root).textContent = this.opened || "";
    find("#count", this.root).textContent = `${done} of ${this.#captures.length} done`;
    list.replaceChildren(...shown.map((item) => this.#item(item)));
    if (focused) list.querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus();
  }

  #item(item) {
    const [words, kind] = state(item);
    const name = h(
      "span",
      { class: "name" },
      item.name,
      h("small", { title: item.problem }, item.problem || `${item.frames} frames`),
    );
    if (isTorn(item))
      return h(
        "li",
        { class: "broken" },
        h("div", { class: "capture" }, h("i", { class: "thumb" }), name, pill(words, kind)),
      );
    const press = { type: "button", class: "capture", "data-name": item.name, click: () => this.open(item.name) };
    const open = item.name === this.opened ? "true" : null;
    return h("li", {}, h("button", { ...press, "aria-current": open }, this.#thumb(item), name, pill(words, kind)));
  }

  #thumb({ name }) {
    if (!this.#thumbs.has(name)) {
      const image = h("img", { alt: "", class: "thumb", loading: "lazy", width: 44, height: 44 });
      api.showPicture(image, "src", imageOf(name, 0, THUMB)).catch(() => image.removeAttribute("src"));
      this.#thumbs.set(name, image);
    }
    return this.#thumbs.get(name);
  }
}

const pill = (words, kind) => h("span", { class: `pill ${kind}` }, words);
const isTorn = ({ problem, frames }) => problem && !frames; // cannot be opened
const isDone = ({ boxes, objects, accepted }) => objects > 0 && accepted === boxes && boxes === objects;

function state(item) {
  if (item.problem) return [isTorn(item) ? "broken" : "faulty", "bad"];
  if (isKept(item.name)) return ["unsaved", "warn"];
  if (!item.boxes) return ["no box", ""];
  if (isDone(item)) return ["accepted", "yes"];
  return [item.objects > 1 ? `${item.accepted} of ${item.objects}` : "to accept", "warn"];
}

function suggest(id, names) {
  find(id).replaceChildren(...names.map((name) => h("option", { value: name })));
}
