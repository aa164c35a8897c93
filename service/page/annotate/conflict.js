// Two have annotated the same capture: both states side by side, and one of them is to be chosen.

import { context, find, h } from "../dom.js";
import { paintBoxes, paintGround, gridOf } from "./painting.js";
import { throughCamera } from "./projections.js";
import { groundFrame } from "./world.js";

const WIDTH = 260;

/** Shows the dialogue; resolves to "mine" or "theirs". */
export function choose(dialog, annotation, theirs, bitmap) {
  const states = { mine: annotation.present, theirs };
  for (const [name, state] of Object.entries(states))
    show(find(`[data-state=${name}]`, dialog), annotation, state, bitmap);
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => {
    for (const name of Object.keys(states)) {
      find(`[data-keep=${name}]`, dialog).onclick = () => {
        dialog.close();
        done(name);
      };
    }
    dialog.oncancel = (event) => event.preventDefault(); // one of the two has to be chosen
  });
}

function show(place, annotation, state, bitmap) {
  find("ul", place).replaceChildren(...state.objects.map((object) => h("li", {}, ...inWords(object))));
  if (!state.objects.length) find("ul", place).replaceChildren(h("li", {}, "no objects"));
  paint(find("canvas", place), annotation, state, bitmap);
}

function inWords({ id, category, box, accepted }) {
  const size = box
    ? `${box.size.map((side) => side.toFixed(3)).join(" × ")} at ${box.center.map((v) => v.toFixed(3)).join(", ")}`
    : "no box";
  return [h("b", {}, id), ` ${category}, ${accepted ? "accepted" : "not accepted"}`, h("small", {}, size)];
}

function paint(canvas, annotation, state, bitmap) {
  const frame = annotation.capture.frames[annotation.frame];
  const { width, height } = frame.camera || frame;
  const down = Math.round((WIDTH * height) / width);
  Object.assign(canvas.style, { width: `${WIDTH}px`, height: `${down}px` });
  const drawing = context(canvas, WIDTH, down);
  if (bitmap) drawing.drawImage(bitmap, 0, 0, WIDTH, down);
  if (!frame.world_from_camera) return;
  const view = throughCamera(frame, WIDTH / width);
  const shown = {
    capture: annotation.capture,
    present: state,
    ground: state.plane && groundFrame(state.plane),
    selected: 0,
    object: state.objects[0],
  };
  if (shown.ground) paintGround(drawing, view, shown.ground, gridOf(shown), 0.4);
  paintBoxes(drawing, view, shown, null, 0.7);
}
