// The service's HTTP interface, as its OpenAPI document has it.

import { planeOf, upOf } from "./geometry.js";

/** A refusal: `application/problem+json`. */
export class Problem extends Error {
  constructor(problem) {
    super(problem.detail || problem.title || "the request was refused");
    Object.assign(this, { status: problem.status, field: problem.field || "", title: problem.title, bound: problem.bound });
  }
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "No answer", detail: "The service cannot be reached." });
  }
  if (response.status === 204) return null;
  const isJson = (response.headers.get("content-type") || "").includes("json");
  const body = isJson ? await response.json() : { title: response.statusText };
  if (!response.ok) throw new Problem({ status: response.status, ...body });
  return body;
}

const rounded = (value) => JSON.parse(JSON.stringify(value, (_, v) => (typeof v === "number" ? Number(v.toPrecision(7)) : v)));

/** The form fields of a query for `/pose`, apart from the picture. */
export function poseFields(query) {
  const { camera, ground, picture, rect, options } = query;
  const fields = { camera: { ...camera, width: picture.width, height: picture.height } };
  if (ground.known === "plane") fields.plane = planeOf(ground);
  if (ground.known === "up") fields.up = upOf(ground);
  return rounded({ ...fields, rect, ...options });
}

export const neighborsFields = ({ rect, options: { k, category } }) => rounded({ rect, k, category });

const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const given = (fields) => Object.entries(fields).filter(([, value]) => value !== undefined && value !== "" && value !== null);

function form(picture, fields) {
  const data = new FormData();
  data.append("image", picture.file, picture.name);
  for (const [name, value] of given(fields)) data.append(name, asText(value));
  return data;
}

export const pose = (query, signal) => call("pose", { method: "POST", body: form(query.picture, poseFields(query)), signal });

export const neighbors = (query, signal) =>
  call("neighbors", { method: "POST", body: form(query.picture, neighborsFields(query)), signal });

export const neighborsOf = (frame, k, signal) => call(`neighbors?${new URLSearchParams({ frame, k })}`, { signal });

export const samples = () => call("samples");
export const index = () => call("index");
export const indexMap = () => call("index/map");

const frames = new Map();

/** What an indexed frame shows, by the place of its picture; null where it is not told. */
export function frameOf(image) {
  const place = image.replace(/\/image\.jpg$/, "");
  if (!frames.has(place)) frames.set(place, call(place).catch(() => null));
  return frames.get(place);
}

export const imageOf = (frame) => `frames/${frame.split("/").map(encodeURIComponent).join("/")}/image.jpg`;

export const objects = () => call("objects");
export const forget = (object) => call(`objects/${encodeURIComponent(object)}`, { method: "DELETE" });

/** Adds a view of an object. `key` makes sure that a request sent twice counts once. */
export function enrol(object, picture, fields, key) {
  const options = { method: "POST", body: form(picture, fields), headers: { "Idempotency-Key": key } };
  return call(`objects/${encodeURIComponent(object)}/frames`, options);
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The same request as a shell command. */
export function curl(path, picture, fields) {
  const image = `-F ${quoted(`image=@${picture.name}`)}`;
  const rest = given(fields).map(([name, value]) => `-F ${quoted(`${name}=${asText(value)}`)}`);
  return [`curl ${new URL(path, document.baseURI).href}`, image, ...rest].join(" \\\n  ");
}
