// The keyboard, while the picture has the focus. With Shift everything is ten times finer.

import { radians } from "../geometry.js";
import { nudgeOf } from "./painting.js";
import { nudged } from "./panel.js";
import { resized, turned } from "./world.js";

const TURN = 5; // degrees
const MOVES = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, 1], arrowdown: [0, -1] };
const GROWS = { w: [1, 1], s: [1, -1], d: [0, 1], a: [0, -1], r: [2, 1], f: [2, -1] };
const TURNS = { q: -1, e: 1 };

const CHANGES = new Set([...Object.keys({ ...MOVES, ...GROWS, ...TURNS }), "t"]); // a draft that is changed is one's own

/** The box after a key, or null where the key does nothing to it. */
export function boxAfter(key, finer, annotation) {
  const { object, ground, pose } = annotation;
  const scale = finer ? 0.1 : 1;
  const step = nudgeOf(object.box) * scale;
  if (MOVES[key] && ground && pose) return nudged(annotation, MOVES[key], step);
  if (TURNS[key] && ground) return turned(object.box, ground.y, radians(TURN * TURNS[key] * scale));
  if (!GROWS[key]) return null;
  const [axis, sign] = GROWS[key];
  return resized(object.box, axis, object.box.size[axis] + sign * step);
}

/** `actions` by key; those of the box are known here. */
export function listenToKeys(canvas, annotation, actions) {
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (CHANGES.has(key)) annotation.takeDraft();
    const box = annotation.object?.box && boxAfter(key, event.shiftKey, annotation);
    if (!box && !actions[key]) return;
    event.preventDefault();
    if (box) annotation.edit({ box });
    else actions[key]();
  });
}
