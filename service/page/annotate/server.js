// What the annotation server takes and answers.

import { call } from "../api.js";

const MOST_KEPT_ALIVE = 60_000; // characters; browsers refuse to keep more than 64 KiB alive
const place = (name) => `annotate/captures/${encodeURIComponent(name)}`;
const ofBox = ({ center, size, rotation }) => ({ center, size, rotation });

/** Ground and objects alone, as they are saved. */
export const annotationOf = ({ plane, objects }) => ({
  plane: plane && { normal: plane.normal, point: plane.point },
  objects: objects.map(({ id, category, box, accepted }) => ({ id, category, box: box && ofBox(box), accepted })),
});

export const captures = () => call("annotate/captures");
export const capture = (name) => call(place(name));
export const history = (name) => call(`${place(name)}/history`);

/** The box that the index proposes, where the cameras look, or for what `rect` of a frame shows (null: anywhere). */
export function draft(name, frame, rect) {
  const where = rect && new URLSearchParams({ frame, rect: rect.map((v) => v.toFixed(1)).join(",") });
  return call(`${place(name)}/draft${where ? `?${where}` : ""}`);
}

export function save(name, revision, annotation) {
  const body = JSON.stringify(annotation);
  return call(place(name), {
    method: "PUT",
    body,
    headers: { "Content-Type": "application/json", "If-Match": `"${revision}"` },
    keepalive: body.length < MOST_KEPT_ALIVE, // goes on while the tab closes
  });
}

/** The upright picture of a frame, about `width` pixels wide. */
export const imageOf = (name, frame, width) => `${place(name)}/frames/${frame}.jpg?width=${width}`;
