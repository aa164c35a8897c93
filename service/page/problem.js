// Refusals, shown at the field that they name.

import { find, findAll } from "./dom.js";

const INPUTS = "input, select";

export function clearProblems(...roots) {
  for (const root of roots) {
    for (const text of findAll(".problem", root)) Object.assign(text, { hidden: true, textContent: "" });
    for (const input of findAll("[aria-invalid]", root)) input.removeAttribute("aria-invalid");
  }
}

/** Shows it in the first of `roots` that has its field, else in the last one's general place. */
export function showProblem(problem, ...roots) {
  const field = (problem.field || "").split(/[.[]/)[0];
  const place = (field && roots.map((root) => fieldOf(root, field)).find(Boolean)) || roots.at(-1);
  const text = find(".problem", place);
  text.textContent = [problem.title, problem.message].filter(Boolean).join(": ");
  text.hidden = false;
  if (!field || place === roots.at(-1)) return;
  for (const input of inputsOf(place, problem.field)) input.setAttribute("aria-invalid", "true");
  const folded = place.closest("details");
  if (folded) folded.open = true;
  text.scrollIntoView({ block: "nearest" });
}

const fieldOf = (root, name) =>
  findAll("[data-field]", root).find((place) => place.dataset.field.split(" ").includes(name));

/** The one input that has the field's very name, else all of the place's. */
function inputsOf(place, field) {
  const own = /^\w+$/.test(field) && find(`#${field}`, place);
  return own ? [own] : findAll(INPUTS, place);
}
