// The selected object's name and numbers, the ground's, and the list of objects.

import { find, findAll, h } from "../dom.js";
import { degrees, dot, minus, plus, radians, scaled, unit } from "../geometry.js";
import { UNNAMED } from "./annotation.js";
import {
  bottomOf,
  column,
  firstPlane,
  inGround,
  moved,
  planeMoved,
  quarterTurned,
  resized,
  turned,
  yawOf,
} from "./world.js";
import { lookedAt } from "./painting.js";

const SIDES = ["width", "height", "depth"];
const written = (value, digits = 3) => String(Number(value.toFixed(digits)));

/** What a number's field shows, and the box with another number there. */
const NUMBERS = {
  width: [(box) => box.size[0], (box, ground, to) => resized(box, 0, to)],
  height: [(box) => box.size[1], (box, ground, to) => resized(box, 1, to)],
  depth: [(box) => box.size[2], (box, ground, to) => resized(box, 2, to)],
  x: placeOf(0),
  z: placeOf(2),
  above: placeOf(1),
  yaw: [
    (box, ground) => degrees(yawOf(box, ground)),
    (box, ground, to) => turned(box, ground.y, radians(to) - yawOf(box, ground)),
  ],
};

function placeOf(axis) {
  const place = (box, ground) => inGround(ground, bottomOf(box))[axis];
  const axes = ({ x, y, z }) => [x, y, z][axis];
  return [place, (box, ground, to) => moved(box, scaled(axes(ground), to - place(box, ground)))];
}

export class Panel {
  constructor(root, annotation, sketch) {
    Object.assign(this, { root, annotation, sketch });
    annotation.addEventListener("change", () => this.#show());
    sketch.addEventListener("change", () => this.#showObjects());
    this.#listenToNumbers();
    this.#listenToNames();
    this.#listenToGround();
    find("#front", root).addEventListener("click", () => this.quarter());
    find("#remove", root).addEventListener("click", () => annotation.remove());
  }

  quarter() {
    const { object } = this.annotation;
    if (object?.box) this.annotation.edit({ box: quarterTurned(object.box) });
  }

  #listenToNumbers() {
    for (const [name, [, change]] of Object.entries(NUMBERS)) {
      const input = find(`#${name}`, this.root);
      input.addEventListener("change", () => {
        const { object, ground } = this.annotation;
        const isSide = SIDES.includes(name);
        const fits = input.value !== "" && (!isSide || Number(input.value) > 0);
        if (fits) this.annotation.edit({ box: change(object.box, ground, Number(input.value)) });
        this.#showNumbers();
      });
    }
  }

  #listenToNames() {
    for (const name of ["id", "category"]) {
      const input = find(`#${name}`, this.root);
      input.addEventListener("change", () => {
        const value = input.value.trim() || (name === "category" ? UNNAMED : this.annotation.object.id);
        this.annotation.edit({ [name]: value });
      });
    }
  }

  #listenToGround() {
    find("#place-ground", this.root).addEventListener("click", () => {
      const { frames, points = [] } = this.annotation.capture;
      const poses = frames.map((frame) => frame.world_from_camera).filter(Boolean);
      this.annotation.setPlane(firstPlane(poses, points));
    });
    find("#confirm-ground", this.root).addEventListener("click", () => {
      const { capture, ground } = this.annotation;
      this.annotation.confirmPlane(lookedAt(capture.frames, ground));
    });
    for (const button of findAll("[data-tilt]", this.root))
      button.addEventListener("click", (event) => this.#nudgeGround(button.dataset.tilt, event.shiftKey));
  }

  /** Tilts by half a degree about what the present camera has to its right and ahead, or lifts by a part of its height. */
  #nudgeGround(way, finer) {
    const { pose, ground, capture, present } = this.annotation;
    if (!pose || !ground) return;
    const by = finer ? 0.1 : 1;
    const lift = (by * Math.abs(inGround(ground, column(pose, 3))[1])) / 200;
    const angle = radians(by * 0.5);
    const change = {
      up: { lift },
      down: { lift: -lift },
      nearer: { pitch: -angle },
      farther: { pitch: angle },
      left: { roll: -angle },
      right: { roll: angle },
    }[way];
    const [right, ahead] = [0, 2].map((axis) => flat(column(pose, axis), ground.y));
    const full = { lift: 0, pitch: 0, roll: 0, ...change };
    this.annotation.setPlane(planeMoved(present.plane, full, right, ahead, lookedAt(capture.frames, ground)));
  }

  #show() {
    if (!this.annotation.capture) return;
    this.#showObjects();
    this.#showNames();
    this.#showNumbers();
    this.#showGround();
  }

  #showObjects() {
    const { present, selected } = this.annotation;
    const list = find("#objects", this.root);
    const names = JSON.stringify([
      present.objects.map(({ id, category, accepted }) => [id, category, accepted]),
      selected,
    ]);
    if (list.dataset.shown === names) return; // a button that has the focus keeps it
    list.dataset.shown = names;
    list.replaceChildren(...present.objects.map((object, i) => h("li", {}, this.#objectButton(object, i))));
  }

  #objectButton({ id, category, accepted, box }, i) {
    const state = !box ? "no box" : accepted ? "accepted" : "to accept";
    return h(
      "button",
      { type: "button", "aria-pressed": i === this.annotation.selected, click: () => this.annotation.select(i) },
      h("span", { class: "name" }, id, h("small", {}, category === UNNAMED ? "no category yet" : category)),
      h("span", { class: accepted && box ? "pill yes" : "pill" }, state),
    );
  }

  #showNames() {
    const { object } = this.annotation;
    find("#object", this.root).hidden = !object;
    find("#intro", this.root).hidden = object !== null || !this.annotation.posed;
    if (!object) return;
    this.#fill("id", object.id);
    this.#fill("category", object.category === UNNAMED ? "" : object.category);
  }

  #showNumbers() {
    const { object, ground } = this.annotation;
    const known = object?.box && ground;
    find("#numbers", this.root).hidden = !known;
    if (!known) return;
    for (const [name, [read]] of Object.entries(NUMBERS))
      this.#fill(name, written(read(object.box, ground), name === "yaw" ? 1 : 4));
  }

  /** Not while it is typed in. */
  #fill(name, value) {
    const input = find(`#${name}`, this.root);
    if (document.activeElement !== input || input.dataset.written === input.value) input.value = value;
    input.dataset.written = input.value;
  }

  #showGround() {
    const { present, capture, posed, isGroundSet, groundFrom } = this.annotation;
    find("#ground-card", this.root).hidden = !posed;
    find("#place-ground", this.root).hidden = present.plane !== null;
    find("#ground-moves", this.root).hidden = present.plane === null;
    const isGuess = present.plane !== null && !this.annotation.isGroundSure;
    const given = groundFrom ? `From ${groundFrom}.` : "Given with the capture.";
    const from = isGroundSet ? "Set by hand." : given;
    find("#ground-from", this.root).textContent = present.plane ? from : "This capture has no ground yet.";
    find("#confirm-ground", this.root).hidden = !isGuess;
    find("#ground-from", this.root).classList.toggle("guess", isGuess);
    find("#unit", this.root).textContent =
      capture.scale === "unknown" ? "own units: the capture has no scale" : "metres";
  }
}

/** The selected box moved by a step to the right and away from the present camera, along the ground. */
export function nudged({ object, ground, pose }, [right, away], step) {
  const across = flat(column(pose, 0), ground.y);
  const ahead = flat(minus(column(pose, 2), column(pose, 1)), ground.y); // looking straight down, too
  return moved(object.box, plus(scaled(across, right * step), scaled(ahead, away * step)));
}

/** The direction along the ground, of length 1. */
function flat(v, up) {
  return unit(minus(v, scaled(up, dot(up, v))));
}
