// Camera frame: OpenCV (x right, y down, z forward), metres; pixels from the top-left corner. As in index/schema.py.

export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const scaled = (a, s) => [a[0] * s, a[1] * s, a[2] * s];
export const plus = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
export const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
export const length = (a) => Math.hypot(...a);
export const unit = (a) => scaled(a, 1 / (length(a) || 1));
export const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
export const mean = (points) => scaled(points.reduce(plus), 1 / points.length);
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
export const radians = (degrees) => (degrees * Math.PI) / 180;
export const degrees = (angle) => (angle * 180) / Math.PI;

// Corner index = 4*[x>0] + 2*[y>0] + [z>0] in the box's axes: y up, z front.
export const EDGES = [
  [0, 1],
  [2, 3],
  [4, 5],
  [6, 7],
  [0, 2],
  [1, 3],
  [4, 6],
  [5, 7],
  [0, 4],
  [1, 5],
  [2, 6],
  [3, 7],
];
export const FACES = {
  front: [1, 5, 7, 3],
  back: [0, 2, 6, 4],
  top: [2, 3, 7, 6],
  bottom: [0, 4, 5, 1],
  left: [0, 1, 3, 2],
  right: [4, 6, 7, 5],
};

/** Names of the faces of a box that show their outside to `eye`. */
export function visibleFaces(corners, eye = [0, 0, 0]) {
  const center = mean(corners);
  const shown = ([, face]) => {
    const middle = mean(face.map((i) => corners[i]));
    return dot(minus(middle, center), minus(eye, middle)) > 0;
  };
  return new Set(
    Object.entries(FACES)
      .filter(shown)
      .map(([name]) => name),
  );
}

/** Edges of a box as [a, b, hidden]. An edge is hidden where both of its faces are. */
export function edgesOf(corners, eye) {
  const shown = visibleFaces(corners, eye);
  return EDGES.map(([a, b]) => {
    const faces = Object.entries(FACES).filter(([, face]) => face.includes(a) && face.includes(b));
    return [a, b, !faces.some(([name]) => shown.has(name))];
  });
}

/** The direction against gravity of a camera that looks down by `pitch` and is turned by `roll`, degrees. */
export function upOf({ pitch, roll }) {
  const [p, r] = [radians(pitch), radians(roll)];
  return [Math.sin(r) * Math.cos(p), -Math.cos(r) * Math.cos(p), -Math.sin(p)];
}

/** The other way round. */
export function tiltOf(up) {
  const [x, y, z] = unit(up);
  return { pitch: degrees(Math.asin(clamp(-z, -1, 1))), roll: degrees(Math.atan2(x, -y)) };
}

export const planeOf = (ground) => {
  const normal = upOf(ground);
  return { normal, point: scaled(normal, -ground.height) };
};

/** Pitch, roll and height of a plane whose normal may be of any length and either side. */
export function groundOf({ normal, point }) {
  const height = -dot(unit(normal), point);
  return { ...tiltOf(height < 0 ? scaled(normal, -1) : normal), height: Math.abs(height) };
}

export const project = (camera, [x, y, z]) => [(camera.fx * x) / z + camera.cx, (camera.fy * y) / z + camera.cy];
export const rayOf = (camera, [x, y]) => [(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, 1];

/** Where the ray through a pixel meets the plane `up . x + height = 0`, or null. */
export function onGround(camera, pixel, up, height) {
  const ray = rayOf(camera, pixel);
  const distance = -height / dot(ray, up);
  return distance > 0 && distance < 1e4 ? scaled(ray, distance) : null;
}

/** The part of a segment in front of z = near, projected; null where there is none. */
export function projectSegment(camera, a, b, near = 0.02) {
  if (a[2] < near && b[2] < near) return null;
  const cut = (p, q) => (p[2] >= near ? p : plus(q, scaled(minus(p, q), (q[2] - near) / (q[2] - p[2]))));
  return [project(camera, cut(a, b)), project(camera, cut(b, a))];
}

/** The round length, 1, 2 or 5 times a power of ten, next below `value`. */
export function roundLength(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * (value >= 5 * power ? 5 : value >= 2 * power ? 2 : 1);
}

/** Two unit vectors along the ground: to the right and away from the camera. */
export function groundAxes(up) {
  const ahead = minus([0, 0, 1], scaled(up, up[2]));
  const away = length(ahead) > 1e-3 ? unit(ahead) : unit(minus([0, -1, 0], scaled(up, -up[1])));
  return { right: unit(cross(away, up)), away };
}

/** Lines of a square grid on the ground about `center`: pairs of points, `reach` cells to each side. */
export function gridLines(up, center, cell, reach) {
  const { right, away } = groundAxes(up);
  const at = (i, j) => plus(center, plus(scaled(right, i * cell), scaled(away, j * cell)));
  const lines = [];
  for (let i = -reach; i <= reach; i++) lines.push([at(i, -reach), at(i, reach)], [at(-reach, i), at(reach, i)]);
  return lines;
}

export const focalOfView = (angle, side) => side / 2 / Math.tan(radians(angle) / 2);
export const viewOfFocal = (focal, side) => degrees(2 * Math.atan(side / 2 / focal));
