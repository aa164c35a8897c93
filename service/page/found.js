// Neighbours and matches, as both kinds of query answer them.

import { frameOf, showPicture } from "./api.js";
import { h, svg } from "./dom.js";
import { FACES, edgesOf } from "./geometry.js";

const MARGIN = 0.18; // around a neighbour's box, of its longer side

/** Fills `list`; `pick(neighbor)` is called for the one that is chosen. */
export function showNeighbors(list, neighbors, pick) {
  list.replaceChildren(...neighbors.map((neighbor) => h("li", {}, card(neighbor, pick))));
}

function card(neighbor, pick) {
  const { frame, image, similarity, category, object } = neighbor;
  const whole = h("img", { alt: "", loading: "lazy" });
  const picture = h("span", { class: "thumb" }, whole);
  showPicture(whole, "src", image);
  frameOf(image).then((shown) => shown?.camera && picture.replaceChildren(drawn(shown)));
  const title = `Frame ${frame}: ask for its neighbours`;
  return h(
    "button",
    { type: "button", title, class: "card", click: () => pick(neighbor) },
    picture,
    h("b", {}, similarity.toFixed(3)),
    h("span", {}, category),
    h("small", {}, object),
  );
}

/** The part of a frame's thumbnail around its object, with its box. */
function drawn({ image, camera, rect, box }) {
  const [x0, y0, x1, y1] = rect;
  const side = (1 + 2 * MARGIN) * Math.max(x1 - x0, y1 - y0);
  const corner = [(x0 + x1 - side) / 2, (y0 + y1 - side) / 2];
  const picture = svg("image", { width: camera.width, height: camera.height, preserveAspectRatio: "none" });
  showPicture(picture, "href", image);
  return svg(
    "svg",
    { viewBox: [...corner, side, side].join(" "), "aria-hidden": "true" },
    picture,
    ...(box ? outline(box) : []),
  );
}

function outline({ corners, corners_px: points }) {
  const path = (lines) => lines.map(([a, b]) => `M${points[a].join(" ")}L${points[b].join(" ")}`).join("");
  const edges = edgesOf(corners);
  const solid = path(edges.filter((edge) => !edge[2]));
  const front = `M${FACES.front.map((i) => points[i].join(" ")).join("L")}Z`;
  return [
    ["front", front],
    ["case", solid],
    ["edge", solid],
  ].map(([name, d]) => svg("path", { class: `box-${name}`, d, "vector-effect": "non-scaling-stroke" }));
}

/** Objects, each with its score; whether that is enough to call it known. */
export function showMatches(list, matches) {
  list.replaceChildren(
    ...matches.map(({ object, category, score, frames, probability, known }) => {
      const bar = h("i", {});
      bar.style.width = `${100 * Math.max(0, probability ?? score)}%`;
      const word = known === null ? "" : known ? "known" : "not known";
      return h(
        "li",
        {},
        h("span", { class: "name" }, object, h("small", {}, `${category}, ${frames} of the neighbours`)),
        h("span", { class: "meter" }, bar),
        h("b", {}, probability === null ? score.toFixed(3) : `${(100 * probability).toFixed(0)} %`),
        h("span", { class: known ? "pill yes" : "pill" }, word),
      );
    }),
  );
}

/** Whether it is a known object, in a sentence. */
export function verdict(matches) {
  const best = matches.find((match) => match.known);
  if (best) return `This is ${best.object}.`;
  if (!matches.length) return "Nothing like it is in the index.";
  return matches[0].known === null
    ? `Most like ${matches[0].object}.`
    : `None of the known objects. The nearest is ${matches[0].object}.`;
}
