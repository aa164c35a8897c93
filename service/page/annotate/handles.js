// What of a box can be taken hold of in a view, and what comes of dragging it.

import { FACES, dot, mean, minus, plus, scaled } from "../geometry.js";
import { alongAxis, bottomOf, column, cornerMoved, cornersOf, faceMoved, meets, moved, turned } from "./world.js";

const SIDES = [
  ["front", 2, 1],
  ["back", 2, -1],
  ["left", 0, -1],
  ["right", 0, 1],
  ["top", 1, 1],
  ["bottom", 1, -1],
];
const FORESHORTENED = 12; // CSS pixels for half a side: less, and a face cannot be dragged with any precision
const BEYOND = 0.3; // of the longer side, from the front to the handle that turns

/** { name, at (canvas), drag(ray) -> box or null }; `from` is where the line to the one that turns begins. */
export function handlesOf(box, up, view) {
  const corners = cornersOf(box);
  const placed = (handle) => ({
    ...handle,
    at: view.point(handle.point),
    from: handle.root ? view.point(handle.root) : null,
  });
  const turns = [1, -1].map((sign) => placed(turnHandle(box, up, sign))); // before the front, or else behind the back
  const others = [...SIDES.map((side) => faceHandle(box, corners, side)), ...cornerHandles(box, corners, up)];
  const steady = others.map(placed).filter((handle) => handle.at && isSteady(handle, view));
  return [...turns.filter(({ at }) => at && view.holds(at)).slice(0, 1), ...steady];
}

function isSteady({ at, point, along }, view) {
  if (!along) return true;
  const end = view.point(plus(point, along));
  return end !== null && Math.hypot(end[0] - at[0], end[1] - at[1]) > FORESHORTENED;
}

function faceHandle(box, corners, [name, axis, sign]) {
  const point = mean(FACES[name].map((i) => corners[i]));
  const outwards = scaled(column(box.rotation, axis), sign);
  const drag = (ray) => {
    const by = alongAxis(ray, point, outwards);
    return by === null ? null : faceMoved(box, axis, sign, by);
  };
  return { name, point, drag, along: scaled(outwards, 0.5 * box.size[axis]) };
}

function cornerHandles(box, corners, up) {
  return FACES.bottom.map((i) => {
    const drag = (ray) => {
      const to = meets(ray, corners[i], up);
      return to && cornerMoved(box, i & 4 ? 1 : -1, i & 1 ? 1 : -1, to);
    };
    return { name: "corner", point: corners[i], drag };
  });
}

function turnHandle(box, up, sign) {
  const foot = bottomOf(box);
  const [right, front] = [0, 2].map((j) => scaled(column(box.rotation, j), sign));
  const reach = box.size[2] / 2 + BEYOND * Math.max(box.size[0], box.size[2]);
  const drag = (ray) => {
    const to = meets(ray, foot, up);
    if (!to) return null;
    const way = minus(to, foot);
    return turned(box, up, Math.atan2(dot(way, right), dot(way, front)));
  };
  const [root, point] = [box.size[2] / 2, reach].map((distance) => plus(foot, scaled(front, distance)));
  return { name: "turn", root, point, drag };
}

/** The box as a whole, held by the middle of its bottom. */
export function bodyHandle(box, up, view) {
  const foot = bottomOf(box);
  const drag = (ray) => {
    const to = meets(ray, foot, up);
    return to && moved(box, minus(to, foot));
  };
  return { name: "move", at: view.point(foot), drag };
}

/** Whether a point of the canvas is on the picture of a box. */
export function isOn(box, view, pixel) {
  const points = cornersOf(box).map(view.point);
  if (points.some((point) => point === null)) return false;
  return Object.values(FACES).some((face) =>
    isWithin(
      face.map((i) => points[i]),
      pixel,
    ),
  );
}

function isWithin(polygon, [x, y]) {
  let within = false;
  polygon.forEach(([x0, y0], i) => {
    const [x1, y1] = polygon[(i + 1) % polygon.length];
    if (y0 > y !== y1 > y && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) within = !within;
  });
  return within;
}
