// The answer of POST /pose, in numbers and words.

import { find, h, svg } from "./dom.js";
import { cross, degrees, dot, length, scaled, unit } from "./geometry.js";

const READINGS = [
  [0.9, "almost certainly right"],
  [0.7, "probably right"],
  [0.4, "doubtful"],
  [0, "probably wrong"],
];
const STAGES = { decode: "decode", embed: "embed", search: "search", fit: "fit" };

const metres = (value) => `${value.toFixed(2)} m`;
const percent = (share) => `${Math.round(100 * share)} %`;
const centimetres = (value) => (100 * value).toFixed(value < 0.1 ? 1 : 0);

/** In one line, for the label on the picture and for who listens. */
export function summary({ category, box, confidence }) {
  const sure = confidence === null ? "" : `  ${percent(confidence)}`;
  return `${category.replaceAll("_", " ")}  ${metres(length(box.center))}${sure}`;
}

export function spoken({ category, box, confidence, problem }) {
  if (!box) return `No box: ${problem ? problem.detail : "none could be found"}`;
  const sure = confidence === null ? "" : `, ${percent(confidence)} confident`;
  const [width, tall, depth] = box.size.map(centimetres);
  return `${category}, ${metres(length(box.center))} away, ${width} by ${tall} by ${depth} centimetres${sure}.`;
}

/** Fills the head of the answer: what, how far, how sure, how large, how turned. */
export function showFacts({ category, box, confidence, uncertainty, problem }) {
  find("#category-name").textContent = category.replaceAll("_", " ");
  find("#distance").replaceChildren(
    ...(box ? [metres(length(box.center)), h("small", {}, distanceError(box, uncertainty))] : ["no box"]),
  );
  showConfidence(confidence);
  const facts = box ? factsOf(box, uncertainty) : [["Why", problem ? problem.detail : ""]];
  find("#facts").replaceChildren(...facts.map(fact));
}

/** A name, a value and what to know of it, as a row of a list of facts. */
export const fact = ([name, value, small]) =>
  h("div", {}, h("dt", {}, name), h("dd", {}, value, small ? h("small", {}, small) : null));

function showConfidence(confidence) {
  const known = confidence !== null;
  find(".sure").hidden = !known;
  if (!known) return;
  const [, reading] = READINGS.find(([least]) => confidence >= least);
  find("#confidence").textContent = percent(confidence);
  find("#reading").textContent = reading;
  find("#confidence-note").textContent =
    `Of 100 such answers about ${Math.round(100 * confidence)} overlap the true box by more than half.`;
  find("#confidence-bar").style.width = `${100 * confidence}%`;
}

function distanceError({ center }, uncertainty) {
  if (!uncertainty) return "";
  const ray = unit(center);
  return ` ± ${centimetres(
    Math.sqrt(
      dot(
        ray,
        uncertainty.center.map((row) => dot(row, ray)),
      ),
    ),
  )} cm`;
}

function factsOf(box, uncertainty) {
  const [width, tall, depth] = box.size.map(centimetres);
  const log = uncertainty && Math.sqrt([0, 1, 2].reduce((sum, i) => sum + uncertainty.log_size[i][i], 0) / 3);
  const [x, y, z] = box.center.map((v) => v.toFixed(2).replace("-", "−"));
  const turned = Math.round(yawOf(box));
  return [
    [
      "Size",
      `${width} × ${tall} × ${depth} cm`,
      `width, height, depth${uncertainty ? `; ± ${Math.round(100 * log)} %` : ""}`,
    ],
    ["Centre", `${x}, ${y}, ${z}`, "metres right, down, ahead"],
    [
      "Front faces",
      turned ? `${Math.abs(turned)}° ${turned > 0 ? "right" : "left"}` : "0°",
      `of the camera${uncertainty ? `; ± ${uncertainty.yaw_deg.toFixed(0)}°` : ""}`,
    ],
  ];
}

/** How far the front is turned from facing the camera, about the box's up, degrees; positive to the picture's right. */
function yawOf({ rotation, center }) {
  const [up, front] = [1, 2].map((j) => rotation.map((row) => row[j]));
  const back = scaled(center, -1);
  const facing = unit(back.map((v, i) => v - dot(back, up) * up[i]));
  return degrees(Math.atan2(dot(cross(facing, front), up), dot(facing, front)));
}

export function showWarnings(list, warnings) {
  list.replaceChildren(...warnings.map((warning) => h("li", {}, warning)));
  list.hidden = !warnings.length;
}

/** A bar of the stages; what is left of the total is waiting and the way through the framework. */
export function showTiming(root, timing, roundTrip) {
  const parts = Object.entries(STAGES).map(([name, title]) => [title, timing[name]]);
  parts.push(["wait", Math.max(0, timing.total - parts.reduce((sum, [, ms]) => sum + ms, 0))]);
  let left = 0;
  const bars = parts.map(([, ms], i) => {
    const width = (100 * ms) / timing.total;
    const bar = svg("rect", { x: left, y: 0, width: Math.max(0, width - 0.3), height: 10, class: `stage-${i}` });
    left += width;
    return bar;
  });
  const legend = parts.map(([name, ms], i) => h("li", { class: `stage-${i}` }, `${name} ${ms.toFixed(1)}`));
  root.replaceChildren(
    svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", class: "timing", "aria-hidden": "true" }, ...bars),
    h("ul", { class: "legend" }, ...legend),
    h(
      "p",
      { class: "note" },
      `${timing.total.toFixed(1)} ms in the service, ${roundTrip.toFixed(0)} ms from here and back`,
    ),
  );
}
