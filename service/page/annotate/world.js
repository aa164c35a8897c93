// Boxes, cameras and the ground in a capture's world, as capture.json has them: metres, matrices row by row.
// A box is { center, size, rotation }: rotation is world_from_box, its y axis up, its z axis the front.

import { FACES, cross, dot, length, mean, minus, plus, scaled, unit } from "../geometry.js";

export const LEAST_SIDE = 1e-3;

export const column = (rows, j) => [rows[0][j], rows[1][j], rows[2][j]];
const transposed = (columns) => [0, 1, 2].map((i) => columns.map((axis) => axis[i]));

export const worldFromCamera = (matrix, p) => [0, 1, 2].map((i) => dot(matrix[i], p) + matrix[i][3]);
export const cameraFromWorld = (matrix, p) => {
  const from = minus(p, column(matrix, 3));
  return [0, 1, 2].map((j) => dot(column(matrix, j), from));
};

/** The eight corners, (8, 3). */
export function cornersOf({ center, size, rotation }) {
  const sides = [0, 1, 2].map((j) => scaled(column(rotation, j), size[j] / 2));
  return [...Array(8).keys()].map((i) =>
    [4, 2, 1].reduce((point, bit, j) => plus(point, scaled(sides[j], i & bit ? 1 : -1)), center),
  );
}

export const bottomOf = (box) => mean(FACES.bottom.map((i) => cornersOf(box)[i]));

/** The ground's own frame: y its normal, x along the world's x (or z) axis, the origin below the world's. */
export function groundFrame({ normal, point }) {
  const y = unit(normal);
  const along = Math.abs(y[0]) < 0.9 ? [1, 0, 0] : [0, 0, 1];
  const x = unit(minus(along, scaled(y, dot(along, y))));
  return { x, y, z: cross(x, y), origin: scaled(y, dot(y, point)) };
}

export const inGround = ({ x, y, z, origin }, p) => [x, y, z].map((axis) => dot(axis, minus(p, origin)));
export const fromGround = ({ x, y, z, origin }, [a, b, c]) =>
  plus(origin, plus(plus(scaled(x, a), scaled(y, b)), scaled(z, c)));

/** Where a ray { origin, direction } meets the plane through `point`; null where it does not, or only beyond reach. */
export function meets({ origin, direction }, point, normal) {
  const distance = dot(minus(point, origin), normal) / dot(direction, normal);
  return distance > 0 && distance < 1e4 ? plus(origin, scaled(direction, distance)) : null;
}

/** How far along `axis` (unit) from `point` a line comes nearest to the ray; null where they are parallel. */
export function alongAxis({ origin, direction }, point, axis) {
  const d = unit(direction);
  const [between, aligned] = [minus(point, origin), dot(d, axis)];
  const apart = 1 - aligned ** 2;
  return apart < 1e-3 ? null : (aligned * dot(d, between) - dot(axis, between)) / apart;
}

/** The rectangle on the ground with the edge a-b, as deep as `c` is away from it: its four corners. */
export function baseOf(up, a, b, c) {
  const edge = minus(b, a);
  const along = unit(edge);
  const away = minus(c, a);
  const deep = minus(minus(away, scaled(along, dot(away, along))), scaled(up, dot(away, up)));
  return [a, b, plus(b, deep), plus(a, deep)];
}

/** The box that stands on such a rectangle; its front is the face at a-b. */
export function boxOn(up, [a, b, , d], tall) {
  const deep = minus(d, a);
  const front = scaled(unit(deep), -1);
  const size = [length(minus(b, a)), tall, length(deep)].map((side) => Math.max(LEAST_SIDE, side));
  const middle = scaled(plus(plus(a, b), scaled(deep, 1)), 0.5);
  return {
    center: plus(middle, scaled(up, size[1] / 2)),
    size,
    rotation: transposed([cross(up, front), up, front]),
  };
}

export const moved = (box, by) => ({ ...box, center: plus(box.center, by) });

/** `v` turned about the unit vector `axis`, radians, as the right hand turns. */
export function turnedAbout(axis, angle, v) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return plus(plus(scaled(v, c), scaled(cross(axis, v), s)), scaled(axis, dot(axis, v) * (1 - c)));
}

/** The box turned on the spot about `up`. */
export function turned(box, up, angle) {
  const columns = [0, 1, 2].map((j) => turnedAbout(up, angle, column(box.rotation, j)));
  return { ...box, rotation: transposed(columns) };
}

/** The same place in space, the next of its sides to the left as its front. */
export function quarterTurned({ center, size, rotation }) {
  const [x, y, z] = [0, 1, 2].map((j) => column(rotation, j));
  return { center, size: [size[2], size[1], size[0]], rotation: transposed([scaled(z, -1), y, x]) };
}

/** The face on side `sign` of `axis` moved outwards; the opposite one stays. */
export function faceMoved(box, axis, sign, outwards) {
  const by = Math.max(outwards, LEAST_SIDE - box.size[axis]);
  const center = plus(box.center, scaled(column(box.rotation, axis), (sign * by) / 2));
  return { ...box, center, size: box.size.with(axis, box.size[axis] + by) };
}

/** Its corner on the sides `sx` and `sz` moved to a point; the opposite corner, and the height, stay. */
export function cornerMoved(box, sx, sz, to) {
  const reach = (axis, sign) => sign * dot(column(box.rotation, axis), minus(to, box.center)) - box.size[axis] / 2;
  return faceMoved(faceMoved(box, 0, sx, reach(0, sx)), 2, sz, reach(2, sz));
}

/** A side of another length: up and down the bottom stays, else the middle. */
export function resized(box, axis, to) {
  if (axis === 1) return faceMoved(box, 1, 1, to - box.size[1]);
  return { ...box, size: box.size.with(axis, Math.max(LEAST_SIDE, to)) };
}

/** Radians from the ground's z axis to the front, about its normal. */
export function yawOf(box, ground) {
  const front = column(box.rotation, 2);
  return Math.atan2(dot(front, ground.x), dot(front, ground.z));
}

/** What takes one plane to the other takes the box along: it stands where it stood. */
export function carried(box, from, to) {
  const [a, b] = [unit(from.normal), unit(to.normal)];
  const axis = cross(a, b);
  const angle = Math.atan2(length(axis), dot(a, b));
  const turn = (v) => (length(axis) < 1e-12 ? v : turnedAbout(unit(axis), angle, v));
  const foot = minus(box.center, scaled(a, dot(a, minus(box.center, from.point))));
  const risen = scaled(b, dot(b, minus(to.point, foot)));
  const columns = [0, 1, 2].map((j) => turn(column(box.rotation, j)));
  const center = plus(plus(foot, risen), turn(minus(box.center, foot)));
  return { ...box, center, rotation: transposed(columns) };
}

/** A box to begin with, where there is no pointer to draw one: on the ground at `foot`, its front to the `eye`. */
export function firstBox(up, foot, eye) {
  const side = length(minus(eye, foot)) / 5;
  const away = minus(foot, eye);
  const ahead = scaled(unit(minus(away, scaled(up, dot(up, away)))), side);
  const across = scaled(unit(cross(ahead, up)), side);
  const a = minus(foot, scaled(plus(across, ahead), 0.5));
  return boxOn(up, baseOf(up, a, plus(a, across), plus(a, ahead)), side);
}

/** A plane lifted by metres along its normal and tilted, radians, about `right` and about `ahead`, through `pivot`. */
export function planeMoved({ normal, point }, { lift, pitch, roll }, right, ahead, pivot) {
  const up = unit(normal);
  const tilted = turnedAbout(ahead, roll, turnedAbout(right, pitch, up));
  const foot = minus(pivot, scaled(up, dot(up, minus(pivot, point))));
  return { normal: unit(tilted), point: plus(foot, scaled(up, lift)) };
}

/** A first ground where a capture has none: against the cameras' mean up, below most of the points. */
export function firstPlane(poses, points) {
  const up = unit(mean(poses.map((pose) => scaled(column(pose, 1), -1))));
  const eyes = poses.map((pose) => dot(up, column(pose, 3)));
  const heights = points.map((point) => dot(up, point)).sort((a, b) => a - b);
  const lowest = heights.length ? heights[Math.floor(0.05 * heights.length)] : Math.min(...eyes) - 1;
  return { normal: up, point: scaled(up, lowest) };
}
