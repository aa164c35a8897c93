// The service's HTTP interface, as its OpenAPI document has it.

import { planeOf, upOf } from "./geometry.js";

/** A refusal: `application/problem+json`. */
export class Problem extends Error {
  constructor(problem) {
    super(problem.detail || problem.title || "the request was refused");
    Object.assign(this, {
      status: problem.status,
      field: problem.field || "",
      title: problem.title,
      bound: problem.bound,
      body: problem,
    });
  }
}

const KEY = "nearpose-api-key";

/** The API key for this tab, where the service asks for one. */
export const key = () => sessionStorage.getItem(KEY);
export const useKey = (text) => sessionStorage.setItem(KEY, text);

/** `fetch` with the key. Where the key is missing or wrong, the window hears of it as `unauthorized`. */
async function request(path, options = {}) {
  const headers = { ...options.headers, ...(key() ? { Authorization: `Bearer ${key()}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "No answer", detail: "The service cannot be reached." });
  }
  if (response.status === 401) dispatchEvent(new Event("unauthorized"));
  return response;
}

/** A picture of the service as a file. */
export const picture = async (place) => (await request(place)).blob();

/** Shows a picture of the service. An element cannot send a key: with one, it is fetched first. */
export async function showPicture(element, attribute, place) {
  if (!key()) return element.setAttribute(attribute, place);
  const url = URL.createObjectURL(await picture(place));
  element.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
  element.setAttribute(attribute, url);
}

/** The JSON that a path answers; null where it answers nothing. Throws a Problem. */
export async function call(path, options = {}) {
  const response = await request(path, options);
  if (response.status === 204) return null;
  const isJson = (response.headers.get("content-type") || "").includes("json");
  const body = isJson ? await response.json() : { title: response.statusText };
  if (!response.ok) throw new Problem({ status: response.status, ...body });
  return body;
}

const rounded = (value) =>
  JSON.parse(JSON.stringify(value, (_, v) => (typeof v === "number" ? Number(v.toPrecision(7)) : v)));

/** The form fields of a query for `/pose`, apart from the picture. */
export function poseFields(query) {
  const { camera, ground, picture, rect, options } = query;
  const fields = { camera: { ...camera, width: picture.width, height: picture.height } };
  if (ground.known === "plane") fields.plane = planeOf(ground);
  if (ground.known === "up") fields.up = upOf(ground);
  return rounded({ ...fields, rect, ...options });
}

export const neighborsFields = ({ rect, options }) => rounded({ rect, ...options });

const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const given = (fields) =>
  Object.entries(fields).filter(([, value]) => value !== undefined && value !== "" && value !== null);

function form(picture, fields) {
  const data = new FormData();
  data.append("image", picture.file, picture.name);
  for (const [name, value] of given(fields)) data.append(name, asText(value));
  return data;
}

export const pose = (query, signal) =>
  call("pose", { method: "POST", body: form(query.picture, poseFields(query)), signal });

export const neighbors = (query, signal) =>
  call("neighbors", { method: "POST", body: form(query.picture, neighborsFields(query)), signal });

export const neighborsOf = (frame, signal) => call(`neighbors?${new URLSearchParams({ frame })}`, { signal });

export const samples = () => call("samples");
export const index = () => call("index");
export const indexMap = () => call("index/map");

const frames = new Map();

/** What an indexed frame shows, by the place of its picture; null where it is not told. */
export function frameOf(image) {
  const place = image.replace(/\/image\.jpg$/, "");
  const failed = () => {
    frames.delete(place); // it may be told the next time
    return null;
  };
  if (!frames.has(place)) frames.set(place, call(place).catch(failed));
  return frames.get(place);
}

export const imageOf = (frame) => `frames/${frame.split("/").map(encodeURIComponent).join("/")}/image.jpg`;

const MOST_PAGES = 20;

/** The objects that were enrolled: those of the index come in the same list, page by page. */
export async function enrolled() {
  const found = [];
  let cursor = "";
  for (let page = 0; page < MOST_PAGES; page++) {
    const { objects, next } = await call(
      `objects?${new URLSearchParams({ limit: 1000, ...(cursor ? { cursor } : {}) })}`,
    );
    found.push(...objects.filter(({ enrolled = 1 }) => enrolled > 0));
    if (!next) break;
    cursor = next;
  }
  return found;
}

export const forget = (object) => call(`objects/${encodeURIComponent(object)}`, { method: "DELETE" });

/** Adds a view of an object. `key` makes sure that a request sent twice counts once. */
export function enrol(object, picture, fields, key) {
  const options = { method: "POST", body: form(picture, fields), headers: { "Idempotency-Key": key } };
  return call(`objects/${encodeURIComponent(object)}/frames`, options);
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const spaced = (value) =>
  typeof value === "string"
    ? value
    : JSON.stringify(value, null, 1)
        .replace(/\n\s*/g, " ")
        .replace(/([[{]) | ([\]}])/g, "$1$2");

/** The same request as a shell command. */
export function curl(path, picture, fields) {
  const secret = key() ? ['-H "Authorization: Bearer $NEARPOSE_KEY"'] : [];
  const image = `-F ${quoted(`image=@${picture.name}`)}`;
  const rest = given(fields).map(([name, value]) => `-F ${quoted(`${name}=${spaced(value)}`)}`);
  return [`curl ${new URL(path, document.baseURI).href}`, ...secret, image, ...rest].join(" \\\n  ");
}
