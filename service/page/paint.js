// What is drawn over a picture: ground, horizon and fitted box. `at` takes pixels of the picture to the canvas.

import { style } from "./dom.js";
import {
  FACES,
  edgesOf,
  gridLines,
  mean,
  minus,
  onGround,
  plus,
  project,
  projectSegment,
  roundLength,
  scaled,
  upOf,
  visibleFaces,
} from "./geometry.js";

const REACH = 14; // grid cells to each side

/** The side of a grid's cell for what is seen from `height` above the ground. */
export const cellOf = (height) => roundLength(height / 5);

/** A square grid on the ground, around the foot of what is asked about, fading with the distance from it. */
export function paintGrid(drawing, at, query, strength) {
  const { camera, ground, rect } = query;
  const up = upOf(ground);
  const foot = onGround(camera, [(rect[0] + rect[2]) / 2, rect[3]], up, ground.height);
  if (!foot) return;
  const cell = cellOf(ground.height);
  drawing.save();
  drawing.lineWidth = 1;
  gridLines(up, foot, cell, REACH).forEach(([a, b], i) => {
    const fade = 1 - Math.abs(Math.floor(i / 2) - REACH) / REACH;
    paintFading(drawing, at, camera, a, b, strength * fade);
  });
  drawing.restore();
}

function paintFading(drawing, at, camera, a, b, alpha) {
  const parts = 12;
  for (let i = 0; i < parts; i++) {
    const ends = [i, i + 1].map((k) => plus(scaled(a, 1 - k / parts), scaled(b, k / parts)));
    const line = projectSegment(camera, ...ends);
    if (!line) continue;
    const fade = 1 - Math.abs(i + 0.5 - parts / 2) / (parts / 2);
    drawing.strokeStyle = `rgba(255,255,255,${(alpha * fade).toFixed(3)})`;
    drawing.beginPath();
    drawing.moveTo(...at(line[0]));
    drawing.lineTo(...at(line[1]));
    drawing.stroke();
  }
}

/** Where the ground ends; says so at the picture's edge where that is out of sight. */
export function paintHorizon(drawing, at, query) {
  const { camera, ground, picture } = query;
  const up = upOf(ground);
  if (Math.abs(up[1]) < 1e-3) return;
  const y = (x) => camera.cy - (camera.fy * (up[2] + (up[0] * (x - camera.cx)) / camera.fx)) / up[1];
  const [left, right] = [at([0, y(0)]), at([picture.width, y(picture.width)])];
  const middle = y(picture.width / 2);
  drawing.save();
  drawing.font = `500 12px ${style("--sans")}`;
  drawing.strokeStyle = drawing.fillStyle = "#fff";
  drawing.shadowColor = "rgba(0,0,0,.8)";
  drawing.shadowBlur = 3;
  drawing.lineWidth = 1.5;
  drawing.beginPath();
  drawing.moveTo(...left);
  drawing.lineTo(...right);
  drawing.stroke();
  grip(drawing, [(left[0] + right[0]) / 2, (left[1] + right[1]) / 2]);
  if (middle < 0) drawing.fillText("horizon above the picture", ...moved(at([0, 0]), 10, 20));
  else if (middle > picture.height)
    drawing.fillText("horizon below the picture", ...moved(at([0, picture.height]), 10, -10));
  else drawing.fillText("horizon", ...moved(left, 10, -6));
  drawing.restore();
}

function grip(drawing, [x, y]) {
  drawing.beginPath();
  drawing.roundRect(x - 16, y - 4, 32, 8, 4);
  drawing.fill();
}

/**
 * The box: its edges (hidden ones thin), its front filled, an arrow up. `toCanvas` takes metres to the canvas.
 * `look` says how: { weight, colour, dashed, fill }, `fill` the strength of the front.
 */
export function paintBox(drawing, corners, rotation, toCanvas, eye = [0, 0, 0], look = {}) {
  const { weight, colour, dashed, fill } = { weight: 1, colour: style("--accent"), dashed: false, fill: 0.3, ...look };
  const pen = (lines, width, dots) => strokeCased(drawing, lines, weight * width, dots, colour);
  const points = corners.map(toCanvas);
  const shown = visibleFaces(corners, eye);
  drawing.save();
  drawing.lineCap = drawing.lineJoin = "round";
  drawing.fillStyle = colour;
  fillFront(drawing, points, shown.has("front"), fill, pen);
  const edges = edgesOf(corners, eye);
  for (const hidden of [true, false]) {
    const lines = edges.filter((edge) => edge[2] === hidden).map(([a, b]) => [points[a], points[b]]);
    pen(lines, hidden ? 1 : 2.25, dashed ? [7, 5] : hidden ? [4, 4] : []);
  }
  paintUp(corners, rotation, toCanvas, pen);
  drawing.restore();
}

function fillFront(drawing, points, shown, fill, pen) {
  const front = FACES.front.map((i) => points[i]);
  drawing.globalAlpha = shown ? fill : 0.4 * fill;
  drawing.beginPath();
  front.forEach((point) => drawing.lineTo(...point));
  drawing.fill();
  drawing.globalAlpha = 1;
  const cross = [
    [front[0], front[2]],
    [front[1], front[3]],
  ];
  if (shown) pen(cross, 0.75, []);
}

function paintUp(corners, rotation, toCanvas, pen) {
  const up = rotation.map((row) => row[1]);
  const foot = mean(FACES.top.map((i) => corners[i]));
  const tall = Math.hypot(...minus(corners[2], corners[0]));
  const [a, b] = [foot, plus(foot, scaled(up, 0.28 * tall))].map(toCanvas);
  const along = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1;
  const [ux, uy] = [(b[0] - a[0]) / along, (b[1] - a[1]) / along];
  const barb = (side) => [b, [b[0] - 7 * ux + side * 5 * uy, b[1] - 7 * uy - side * 5 * ux]];
  pen([[a, b], barb(1), barb(-1)], 2, []);
}

/** Lines over a dark casing: they stand out from any picture. */
export function strokeCased(drawing, lines, width, dots = [], colour = style("--accent")) {
  const path = new Path2D();
  for (const [a, b] of lines) {
    path.moveTo(...a);
    path.lineTo(...b);
  }
  drawing.setLineDash(dots);
  drawing.strokeStyle = "rgba(0,0,0,.55)";
  drawing.lineWidth = width + 2;
  drawing.stroke(path);
  drawing.strokeStyle = colour;
  drawing.lineWidth = width;
  drawing.stroke(path);
  drawing.setLineDash([]);
}

/** A line of text on the accent colour, `at` its lower left corner, kept within `width` x `height`. */
export function paintLabel(drawing, text, [x, y], width, height) {
  drawing.save();
  drawing.font = `600 13px ${style("--sans")}`;
  const across = drawing.measureText(text).width + 16;
  const left = Math.max(4, Math.min(x, width - across - 4));
  const top = Math.max(4, Math.min(y - 26, height - 28));
  drawing.fillStyle = style("--accent");
  drawing.beginPath();
  drawing.roundRect(left, top, across, 24, 4);
  drawing.fill();
  drawing.fillStyle = style("--on-accent");
  drawing.textBaseline = "middle";
  drawing.fillText(text, left + 8, top + 12.5);
  drawing.restore();
}

const moved = ([x, y], dx, dy) => [x + dx, y + dy];

export const boxProjector = (camera, at) => (point) => at(project(camera, point));
