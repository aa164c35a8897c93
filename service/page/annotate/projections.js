// Two ways to see the world: through a frame's camera, and from straight above.
// Each has `point` (metres to the canvas; null where it is not seen), `ray` back, and where its `eye` is.

import { plus, project, projectSegment, rayOf, scaled } from "../geometry.js";
import { cameraFromWorld, column, fromGround, inGround, worldFromCamera } from "./world.js";

const NEAR = 0.02;
const ABOVE = 1000; // metres: as good as infinitely far

/** `scale` (at `zoom` 1) and `shift` take pixels of the picture to the canvas, which shows as much as without a zoom. */
export function throughCamera({ camera, world_from_camera: pose }, scale, shift = [0, 0], zoom = 1) {
  const magnified = scale * zoom;
  const eye = column(pose, 3);
  const onCanvas = ([x, y]) => [x * magnified + shift[0], y * magnified + shift[1]];
  const seen = (p) => cameraFromWorld(pose, p);
  return {
    eye,
    holds: within(camera.width * scale, camera.height * scale),
    point: (p) => {
      const inCamera = seen(p);
      return inCamera[2] < NEAR ? null : onCanvas(project(camera, inCamera));
    },
    segment: (a, b) => projectSegment(camera, seen(a), seen(b), NEAR)?.map(onCanvas) || null,
    ray: ([x, y]) => {
      const pixel = [(x - shift[0]) / magnified, (y - shift[1]) / magnified];
      return { origin: eye, direction: worldFromCamera(turnOf(pose), rayOf(camera, pixel)) };
    },
  };
}

const within =
  (width, height) =>
  ([x, y]) =>
    x >= 0 && y >= 0 && x <= width && y <= height;

const turnOf = (pose) => pose.slice(0, 3).map((row) => [...row.slice(0, 3), 0]);

/** The ground's x to the right, its z down, `middle` (x, z) at the middle of the canvas, `scale` pixels a metre. */
export function fromAbove(ground, middle, scale, width, height) {
  const point = (p) => {
    const [x, , z] = inGround(ground, p);
    return [(x - middle[0]) * scale + width / 2, (z - middle[1]) * scale + height / 2];
  };
  const groundAt = ([x, y]) => [(x - width / 2) / scale + middle[0], (y - height / 2) / scale + middle[1]];
  return {
    eye: plus(ground.origin, scaled(ground.y, ABOVE)),
    holds: within(width, height),
    point,
    segment: (a, b) => [point(a), point(b)],
    groundAt,
    ray: (pixel) => {
      const [x, z] = groundAt(pixel);
      return { origin: fromGround(ground, [x, ABOVE, z]), direction: scaled(ground.y, -1) };
    },
  };
}
