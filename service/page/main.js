// Puts the page together: tabs, the bench with the picture, and what each tab asks.

import * as api from "./api.js";
import { Atlas } from "./atlas.js";
import { connectControls } from "./controls.js";
import { find, findAll, h } from "./dom.js";
import { listenToKey } from "./keyform.js";
import { PoseTab } from "./pose.js";
import { clearProblems, showProblem } from "./problem.js";
import { Query } from "./query.js";
import { ReidTab } from "./reid.js";
import { Stage } from "./stage.js";

const RETRY_MS = 1000;
const query = new Query();
const stage = new Stage(find("#stage"), query);
const bench = find("#bench");
const pose = new PoseTab(query, stage, bench, (neighbor) => openFrame(neighbor.frame));
const reid = new ReidTab(query, bench, pose);
const atlas = new Atlas(find("#index"));
const tabs = findAll("[role=tab]");
let asked = { pose: false, reid: false };
let sampled = false; // a sample is complete: it needs no press of a button

connectControls(query, stage);

function openFrame(frame) {
  asked.reid = true;
  select("reid");
  reid.askFrame(frame);
}

function current() {
  return tabs.find((tab) => tab.getAttribute("aria-selected") === "true").getAttribute("aria-controls");
}

/** Shows a tab. The bench is one, and moves to the tab that needs it. */
function select(name) {
  for (const tab of tabs) {
    const chosen = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    find(`#${tab.getAttribute("aria-controls")}`).hidden = !chosen;
  }
  const panel = find(`#${name}`);
  if (panel.classList.contains("bench-panel")) {
    panel.prepend(bench);
    stage.withGround = name === "pose";
    stage.use(name === "reid" ? "rect" : stage.tool);
    find("#ask").textContent = name === "pose" ? "Find the pose" : "Find what it is";
  }
  if (name === "index") atlas.open();
  if (name === "reid") reid.open();
  if (sampled && !asked[name]) ask();
}

function listenToTabs() {
  for (const [i, tab] of tabs.entries()) {
    tab.addEventListener("click", () => {
      const name = tab.getAttribute("aria-controls");
      select(name);
      history.replaceState(null, "", `#${name}`);
    });
    tab.addEventListener("keydown", ({ key }) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[key];
      if (to === undefined) return;
      tabs[to % tabs.length].focus();
      tabs[to % tabs.length].click();
    });
  }
}

function ask() {
  const name = current();
  if (!query.picture || name === "index") return;
  asked[name] = true;
  if (name === "pose") pose.ask();
  else reid.ask();
}

/** Once a picture has its answer, every finished change of the query is asked again. */
function listenToQuery() {
  query.addEventListener("change", ({ detail: { parts, settled } }) => {
    find("#ask").disabled = !query.picture;
    if (parts.includes("picture")) {
      asked = { pose: false, reid: false };
      pose.clear();
      reid.clear();
    } else if (asked.pose && current() === "pose") {
      pose.outdated();
    }
    if (settled && !parts.includes("picture") && asked[current()]) later(ask);
  });
}

let timer = 0;
function later(action) {
  clearTimeout(timer);
  timer = setTimeout(action, 150);
}

async function openFile(file) {
  const input = find(".input", bench);
  clearProblems(input);
  markSample(null);
  sampled = false;
  try {
    await query.open(file);
  } catch {
    const detail = `${file.name || "the file"} is not a picture that this browser can show`;
    showProblem(new api.Problem({ field: "image", title: "The image cannot be read", detail }), bench);
  }
}

async function openSample(sample, button) {
  clearProblems(bench);
  markSample(button);
  await query.openSample(sample);
  sampled = true;
  ask();
}

function markSample(button) {
  for (const other of findAll("button", find("#samples"))) other.setAttribute("aria-pressed", other === button);
}

function listenToFiles() {
  find("#file").addEventListener("change", ({ target }) => {
    if (target.files.length) openFile(target.files[0]);
    target.value = "";
  });
  const over = (event, inside) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    bench.classList.toggle("dropping", inside);
  };
  addEventListener("dragover", (event) => over(event, true));
  addEventListener("dragleave", (event) => event.relatedTarget || over(event, false));
  addEventListener("drop", (event) => {
    over(event, false);
    if (current() === "index") select("pose");
    if (event.dataTransfer.files.length) openFile(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files || [])].find(({ type }) => type.startsWith("image/"));
    if (file) openFile(file);
  });
}

async function showSamples() {
  const { samples } = await api.samples();
  const buttons = samples.map((sample) => {
    const image = h("img", { alt: "" });
    api.showPicture(image, "src", sample.image);
    const button = h(
      "button",
      { type: "button", "aria-pressed": "false", click: () => openSample(sample, button) },
      image,
      h("span", {}, sample.name.replaceAll("_", " ")),
    );
    return button;
  });
  find("#samples").replaceChildren(...buttons.map((button) => h("li", {}, button)));
  find("#samples").hidden = !samples.length;
  if (samples.length && !query.picture) await openSample(samples[0], buttons[0]);
}

/** What is indexed. Waits for it: a service may be started before its index is there. */
async function showState() {
  const { frames, objects, categories } = await ready();
  find("#state").textContent =
    `${frames.toLocaleString("en")} frames of ${objects.toLocaleString("en")} objects indexed`;
  const names = categories.map(({ category }) => category);
  find("#category").append(...names.map((name) => h("option", {}, name)));
  find("#categories").append(...names.map((name) => h("option", { value: name })));
}

async function ready() {
  for (;;) {
    try {
      return await api.index();
    } catch (problem) {
      if (problem.status && problem.status !== 503) throw problem;
      find("#state").textContent = problem.title;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

find("#ask").addEventListener("click", ask);
find("#adjust").open = matchMedia("(min-width: 720px)").matches;
listenToTabs();
listenToQuery();
listenToFiles();
listenToKey();
select(location.hash.slice(1) in { reid: 1, index: 1 } ? location.hash.slice(1) : "pose");
try {
  await showState();
  await showSamples();
} catch (problem) {
  find("#state").textContent = problem.message;
}
