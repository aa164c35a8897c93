// Sliders, numbers and choices of the bench, each tied to its part of the query.

import { find, findAll } from "./dom.js";
import { cellOf } from "./paint.js";

const USUAL_K = "20";
const CORNERS = ["x0", "y0", "x1", "y1"];
const signed = (value) => `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(0)}°`;
const inWords = (metres) => (metres < 1 ? `${(100 * metres).toFixed(0)} cm` : `${metres.toFixed(2)} m`);

export function connectControls(query, stage) {
  connectSlides(query);
  connectRect(query);
  connectSearch(query);
  connectTools(query, stage);
  query.addEventListener("change", () => query.picture && show(query));
}

function connectSlides(query) {
  const slide = (id, change) => {
    const input = find(`#${id}`);
    input.addEventListener("input", () => query.picture && change(Number(input.value), false));
    input.addEventListener("change", () => query.picture && change(Number(input.value), true));
  };
  slide("view", (angle, settled) => query.setView(angle, settled));
  slide("pitch", (pitch, settled) => query.setGround({ pitch }, settled));
  slide("roll", (roll, settled) => query.setGround({ roll }, settled));
  slide("height", (power, settled) => query.setGround({ height: Math.exp(power) }, settled));
  find("#known").addEventListener("change", ({ target }) => query.setGround({ known: target.value }));
}

function connectRect(query) {
  for (const [i, id] of CORNERS.entries()) {
    find(`#${id}`).addEventListener("change", ({ target }) => {
      // As it was typed: what is outside the picture is the service's to refuse.
      if (query.picture && target.value !== "") query.set({ rect: query.rect.with(i, Number(target.value)) });
    });
  }
}

function connectSearch(query) {
  const option = (id, change) =>
    find(`#${id}`).addEventListener("change", ({ target }) =>
      query.set({ options: { ...query.options, ...change(target.value) } }),
    );
  option("k", (k) => ({ k: k === USUAL_K ? undefined : k }));
  option("category", (category) => ({ category: category || undefined }));
}

function connectTools(query, stage) {
  const buttons = findAll("[data-use]");
  const show = () => {
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.use === stage.tool);
    find("#hint").textContent = query.picture ? hint(query.ground, stage) : "";
  };
  for (const button of buttons) button.addEventListener("click", () => stage.use(button.dataset.use));
  for (const name of ["use", "answer"]) stage.root.addEventListener(name, show);
  query.addEventListener("change", show);
}

function hint({ height, known }, { tool, withGround, answer }) {
  if (!withGround) return "Drag round one object";
  const cell = inWords(cellOf(height));
  if (tool === "ground") return `Drag: tilt and turn. Wheel: height. Cells of ${cell}.`;
  if (answer) return `${known === "none" ? "" : `Grid of ${cell}. `}The crossed face is the front.`;
  return "Drag round one object";
}

function show({ ground, rect, camera, cameraFrom, picture, view }) {
  set("view", view, `${view.toFixed(0)}°`);
  find("#camera-from").textContent =
    `${cameraFrom}. ${camera.fx.toFixed(0)} px focal length, ${picture.width}\u00a0×\u00a0${picture.height}.`;
  find("#known").value = ground.known;
  set("pitch", ground.pitch, signed(ground.pitch));
  set("roll", ground.roll, signed(ground.roll));
  set("height", Math.log(ground.height), inWords(ground.height));
  find("#height-row").hidden = ground.known !== "plane";
  for (const id of ["pitch", "roll"]) find(`#${id}-row`).hidden = ground.known === "none";
  for (const [i, id] of CORNERS.entries()) find(`#${id}`).value = Math.round(rect[i]);
}

function set(id, value, words) {
  const input = find(`#${id}`);
  input.value = value;
  input.setAttribute("aria-valuetext", words);
  find("output", input.parentElement).textContent = words;
}
