// What is drawn over a frame or seen from above: the ground's grid, boxes, what is being drawn, handles.

import { style } from "../dom.js";
import { dot, minus, roundLength, scaled } from "../geometry.js";
import { paintBox, strokeCased } from "../paint.js";
import { column, cornersOf, fromGround, inGround } from "./world.js";

const REACH = 12; // grid cells to each side
const FADES = 10; // pieces of a line, each of its own strength
const TURN_RADIUS = 11;
const FILL = 0.13; // of the front: the object is to be seen through it

/** The side of a cell, and the middle of the grid (x, z) on the ground, fixed in the world: it does not swim. */
export function gridOf(annotation) {
  const { ground, capture, present } = annotation;
  const eyes = capture.frames.filter((frame) => frame.world_from_camera).map((f) => column(f.world_from_camera, 3));
  const heights = eyes.map((eye) => Math.abs(inGround(ground, eye)[1])).sort((a, b) => a - b);
  const cell = roundLength((heights[Math.floor(heights.length / 2)] || 1) / 5);
  const box = present.objects.find((object) => object.box)?.box;
  const middle = inGround(ground, box ? box.center : lookedAt(capture.frames, ground));
  return { cell, middle: [middle[0], middle[2]].map((v) => Math.round(v / cell) * cell) };
}

/** The point of the ground that the cameras look at: the median of where each does. */
export function lookedAt(frames, ground) {
  const posed = frames.filter((frame) => frame.world_from_camera).map((frame) => frame.world_from_camera);
  const feet = posed.flatMap((pose) => {
    const [eye, ahead] = [column(pose, 3), column(pose, 2)];
    const down = -dot(ahead, ground.y);
    const height = inGround(ground, eye)[1];
    return down > 0.1 ? [eye.map((v, i) => v + (ahead[i] * height) / down)] : [];
  });
  const middle = (axis) => feet.map((p) => p[axis]).sort((a, b) => a - b)[Math.floor(feet.length / 2)];
  const about = feet.length ? [0, 1, 2].map(middle) : column(posed[0], 3);
  return minus(about, scaled(ground.y, inGround(ground, about)[1]));
}

/** `strength` 0 to 1, `colour` as "r, g, b". */
export function paintGround(drawing, view, ground, { cell, middle }, strength, colour = "255, 255, 255") {
  drawing.save();
  drawing.lineWidth = 1;
  for (let i = -REACH; i <= REACH; i++) {
    for (const across of [true, false])
      paintLine(drawing, view, lineOf(ground, cell, middle, i, across), i, strength, colour);
  }
  drawing.restore();
}

function lineOf(ground, cell, [x, z], i, across) {
  return (t) => fromGround(ground, across ? [x + i * cell, 0, z + t * cell] : [x + t * cell, 0, z + i * cell]);
}

function paintLine(drawing, view, at, i, strength, colour) {
  const step = (2 * REACH) / FADES;
  for (let k = 0; k < FADES; k++) {
    const from = -REACH + k * step;
    const ends = view.segment(at(from), at(from + step));
    const alpha = strength * (1 - Math.hypot(i, from + step / 2) / (1.15 * REACH));
    if (!ends || alpha <= 0) continue;
    drawing.strokeStyle = `rgba(${colour}, ${alpha.toFixed(3)})`;
    drawing.beginPath();
    drawing.moveTo(...ends[0]);
    drawing.lineTo(...ends[1]);
    drawing.stroke();
  }
}

/** All boxes: the selected one last and in the accent colour, the draft dashed. */
export function paintBoxes(drawing, view, annotation, sketch, weight = 1) {
  const { present, selected, draft } = annotation;
  const [mine, quiet] = [
    { weight, fill: FILL },
    { weight: 0.8 * weight, fill: FILL, colour: "#ffffff" },
  ];
  present.objects.forEach(({ box }, i) => i !== selected && box && paint(drawing, view, box, quiet));
  if (annotation.object?.box) paint(drawing, view, annotation.object.box, mine);
  if (draft?.box) paint(drawing, view, draft.box, { ...mine, dashed: true });
  if (sketch?.active) paintSketch(drawing, view, sketch.shape, mine);
}

function paint(drawing, view, box, look) {
  const corners = cornersOf(box);
  if (corners.some((corner) => view.point(corner) === null)) return; // partly behind the camera
  paintBox(drawing, corners, box.rotation, view.point, view.eye, look);
}

function paintSketch(drawing, view, { edge, base, box }, look) {
  if (box) return paint(drawing, view, box, look);
  const points = base || edge;
  const closed = base ? [...base, base[0]] : edge;
  const lines = closed
    .slice(1)
    .map((end, i) => view.segment(closed[i], end))
    .filter(Boolean);
  strokeCased(drawing, lines, 2.25 * look.weight);
  for (const point of points.map(view.point)) if (point) disc(drawing, point, 4.5 * look.weight, style("--accent"));
}

/** White knobs, round at the corners; the one that turns is an arc. */
export function paintHandles(drawing, handles, held) {
  for (const { name, at, from } of handles) {
    if (from) strokeCased(drawing, [[from, at]], 1.5);
    drawing.save();
    drawing.shadowColor = "rgba(0,0,0,.5)";
    drawing.shadowBlur = 3;
    if (name === "turn") paintTurn(drawing, at);
    else if (name === "corner") disc(drawing, at, name === held ? 7 : 5, "#fff");
    else square(drawing, at, name === held ? 7 : 5);
    drawing.restore();
  }
}

function paintTurn(drawing, [x, y]) {
  disc(drawing, [x, y], TURN_RADIUS, style("--accent"));
  drawing.strokeStyle = style("--on-accent");
  drawing.lineWidth = 2;
  drawing.beginPath();
  drawing.arc(x, y, 5.5, -2.6, 1.4);
  drawing.stroke();
  drawing.beginPath();
  drawing.moveTo(x + 5, y + 6.5);
  drawing.lineTo(x + 0.5, y + 7.5);
  drawing.lineTo(x + 1, y + 3);
  drawing.stroke();
}

function disc(drawing, [x, y], radius, colour) {
  drawing.fillStyle = colour;
  drawing.strokeStyle = "rgba(0,0,0,.65)";
  drawing.lineWidth = 1;
  drawing.beginPath();
  drawing.arc(x, y, radius, 0, 7);
  drawing.fill();
  drawing.stroke();
}

function square(drawing, [x, y], half) {
  drawing.fillStyle = "#fff";
  drawing.strokeStyle = "rgba(0,0,0,.65)";
  drawing.lineWidth = 1;
  drawing.beginPath();
  drawing.roundRect(x - half, y - half, 2 * half, 2 * half, 2);
  drawing.fill();
  drawing.stroke();
}

/** The distance a key press moves: a round length, about a twentieth of the box's longest side. */
export const nudgeOf = (box) => roundLength(Math.max(...box.size) / 20);
