// Puts the annotation page together.

import { find, h } from "../dom.js";
import { listenToKey } from "../keyform.js";
import { Annotation, UNNAMED } from "./annotation.js";
import { choose } from "./conflict.js";
import { listenToKeys } from "./keys.js";
import { Listing } from "./listing.js";
import { lookedAt } from "./painting.js";
import { Panel } from "./panel.js";
import { Plan, planInWords } from "./plan.js";
import { Saving } from "./saving.js";
import * as server from "./server.js";
import { STEPS, Sketch } from "./sketch.js";
import { Stage } from "./stage.js";
import { Strip } from "./strip.js";
import { column, firstBox, inGround } from "./world.js";

const RETRY_MS = 1000;
const annotation = new Annotation();
const sketch = new Sketch(annotation);
const stage = new Stage(find("#stage"), annotation, sketch);
const plan = new Plan(find("#plan"), annotation, sketch);
const strip = new Strip(find("#walk"), annotation, sketch);
const panel = new Panel(find("#panel"), annotation, sketch);
const listing = new Listing(find("#list"), open);
const savings = new Map(); // by capture: each goes on by itself until it is confirmed
let saving = null;
let opening = null;
let asking = false; // the index for a draft

/** Opens a capture: what the server has, and what this browser holds of it that is not saved. */
async function open(name) {
  opening = name;
  await saving?.flush();
  sketch.cancel();
  strip.stop();
  stage.pointing = false;
  const capture = await settledCapture(name);
  if (!capture || opening !== name) return; // another was chosen meanwhile
  const chosen = savings.get(name) || newSaving(name);
  const state = await chosen.open(capture.revision, server.annotationOf(capture)); // a conflict is shown once it is there
  if (opening !== name) return;
  saving = chosen;
  annotation.open(capture, state);
  stage.zoom = 1;
  plan.closeIn();
  listing.mark(name);
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  document.title = `${name} · annotate · nearpose`;
  find("#list").open = matchMedia("(min-width: 1080px)").matches;
  find("#desk").hidden = false;
  find("#unposed").hidden = annotation.posed;
  showFindings(capture);
  showSaving();
}

/** What is wrong with the capture, each at its frame. */
function showFindings({ problem, findings, frames }) {
  const all = [
    ...(problem ? [{ frame: null, text: problem }] : []),
    ...frames.flatMap((frame, i) => (frame.problem ? [{ frame: i, text: frame.problem }] : [])),
    ...findings,
  ];
  find("#findings").hidden = !all.length;
  find("#found").replaceChildren(...all.map((finding) => h("li", {}, ...inFinding(finding))));
}

function inFinding({ frame, kind, text }) {
  const words = kind ? [h("b", {}, kind), `: ${text}`] : [text];
  if (frame === null) return words;
  return [h("button", { type: "button", click: () => annotation.show(frame) }, `Frame ${frame + 1}`), " ", ...words];
}

async function settledCapture(name) {
  try {
    const capture = await server.capture(name);
    say("");
    return capture;
  } catch (problem) {
    say(`${name} cannot be opened: ${problem.message}`);
    return null;
  }
}

function newSaving(name) {
  const made = new Saving(name, async (revision, state) => {
    const saved = await server.save(name, revision, state);
    if (annotation.capture?.name === name) showFindings({ ...annotation.capture, ...saved }); // those that hold still
    return saved;
  });
  made.addEventListener("state", () => made === saving && showSaving());
  savings.set(name, made);
  return made;
}

const WORDS = {
  saved: "Saved",
  waiting: "Saving…",
  saving: "Saving…",
  offline: "Not saved: no answer. Kept in this browser, trying again.",
  refused: "Not saved",
  conflict: "Not saved: someone else saved this capture.",
};

function showSaving() {
  const chip = find("#saving");
  const { state, problem } = saving;
  chip.dataset.state = state;
  const words = state === "refused" ? `${WORDS.refused}: ${problem.message}` : WORDS[state];
  if (chip.textContent !== words) chip.textContent = words;
  if (state === "conflict") resolve(saving);
  if (annotation.capture?.name === saving.name) listing.update(saving.name, annotation.present.objects);
}

/** Another capture may be opened meanwhile, whose annotation this is none of: the conflict is shown again with its own. */
async function resolve(which) {
  const dialog = find("#conflict");
  const { capture, frame } = annotation;
  const bitmap = await stage.pictures.of(capture.name, frame).catch(() => null);
  if (annotation.capture !== capture) return;
  const theirs = which.theirs.annotation;
  if ((await choose(dialog, annotation, theirs, bitmap)) === "mine") return which.keepMine();
  which.takeTheirs();
  if (annotation.capture === capture) annotation.take(theirs);
}

function say(words) {
  find("#problem").textContent = words;
  find("#problem").hidden = !words;
}

/** The draft of the index: for what the cameras look at, or for what is in a rectangle of the frame that is shown. */
async function propose(rect = null) {
  if (asking || !annotation.posed) return;
  asking = true;
  find("#proposed").textContent = "Asking the index…";
  showTools();
  const { capture, frame } = annotation;
  try {
    const draft = await server.draft(capture.name, frame, rect);
    if (capture !== annotation.capture) return;
    sketch.cancel();
    annotation.propose(draft);
    plan.closeIn();
    find("#proposed").textContent = inWords(draft);
  } catch (problem) {
    find("#proposed").textContent = problem.message;
  } finally {
    asking = false;
    point(true);
  }
}

function inWords({ category, confidence, frames_used: frames, neighbors, problem }) {
  const like = neighbors.length ? `; like ${neighbors.slice(0, 3).join(", ")}` : "";
  const said = `${category}, ${Math.round(100 * confidence)} % sure, from ${frames.length} frames${like}.`;
  return problem ? `${said} ${problem}` : said;
}

/** Yes to the draft, or to the selected object; a category is asked for first. */
function accept() {
  if (sketch.active) return placeFirst();
  annotation.takeDraft(true);
  const { object } = annotation;
  if (!object?.box) return;
  if (object.category === UNNAMED) {
    find("#name-needed").hidden = false;
    return find("#category").focus();
  }
  annotation.edit({ accepted: true });
  saving.flush();
}

function draw() {
  if (!annotation.posed) return;
  if (!annotation.ground) return say("First place the ground: on it stands what you draw.");
  say("");
  dismiss();
  if (sketch.active) sketch.cancel();
  else sketch.begin();
}

/** Without a pointer: a box where the cameras look, to be moved and resized by keys. */
function placeFirst() {
  const { ground, pose, capture } = annotation;
  if (!pose) return;
  sketch.cancel();
  annotation.place(firstBox(ground.y, lookedAt(capture.frames, ground), column(pose, 3)));
}

/** Until the next change, a rectangle can be drawn round another object, to have its box proposed. */
function point(on) {
  stage.pointing = on;
  if (!on) find("#proposed").textContent = "";
  showTools();
}

function dismiss() {
  annotation.propose(null);
  point(false);
}

function escape() {
  if (sketch.active) sketch.back() || sketch.cancel();
  else dismiss();
}

function showTools() {
  const { object, draft, ground, posed } = annotation;
  find("#draw").setAttribute("aria-pressed", sketch.active);
  find("#draw").disabled = !posed;
  find("#propose").disabled = !posed || asking;
  find("#undo").disabled = !annotation.canUndo;
  find("#redo").disabled = !annotation.canRedo;
  const done = object?.accepted && object.box && !draft;
  find("#accept").disabled = !(draft || object?.box) || done || sketch.active;
  find("#accept").textContent = done ? "Accepted" : draft ? "Accept draft" : "Accept";
  find("#next").hidden = !done || !listing.next;
  find("#dismiss").hidden = !draft;
  find("#proposed").hidden = !find("#proposed").textContent;
  if (object?.category !== UNNAMED) find("#name-needed").hidden = true;
  find("#hint").textContent = hint(object, draft, ground);
  stage.root.dataset.drawing = sketch.active;
  stage.root.dataset.free = !sketch.active && !object?.box && !draft && !stage.pointing; // nothing to take hold of: a finger scrolls
  stage.canvas.setAttribute("aria-label", stageInWords());
  plan.canvas.setAttribute("aria-label", planInWords(annotation));
}

function hint(object, draft, ground) {
  if (!annotation.posed) return "";
  if (!annotation.pose) return "This frame has no camera pose: nothing can be drawn on it.";
  if (!ground) return "Place the ground first.";
  if (sketch.active) return STEPS[sketch.step];
  if (draft)
    return "Dashed: the index's draft. Accept it, or drag it right. Another object? Drag a rectangle round it.";
  if (stage.pointing) return "Draw a box, or drag a rectangle round the object to have it proposed.";
  if (!object?.box) return "Draw a box, or let the index propose one.";
  return object.accepted
    ? "Accepted. The crossed face is the front."
    : "Look at every frame, correct, accept. The crossed face is the front.";
}

function stageInWords() {
  const { object, ground, frame, capture } = annotation;
  const words = `Frame ${frame + 1} of ${capture.frames.length}`;
  if (!object?.box || !ground) return words;
  const [width, height, depth] = object.box.size.map((side) => side.toFixed(3));
  const [x, , z] = inGround(ground, object.box.center).map((v) => v.toFixed(3));
  return `${words}. ${object.id}: ${width} wide, ${height} high, ${depth} deep, at ${x}, ${z} on the ground`;
}

async function showHistory() {
  const list = find("#states");
  try {
    const { capture } = annotation;
    const states = await server.history(capture.name);
    if (capture !== annotation.capture) return;
    annotation.know(states);
    list.replaceChildren(...states.map((state) => h("li", {}, earlier(state))));
    if (!states.length) list.replaceChildren(h("li", {}, "None yet."));
  } catch (problem) {
    list.replaceChildren(h("li", {}, problem.message));
  }
}

function earlier({ saved_at: saved, plane, objects }) {
  const back = () => annotation.take(server.annotationOf({ plane: plane || annotation.present.plane, objects }));
  const words = `${new Date(saved).toLocaleString()}: ${objects.length} ${objects.length === 1 ? "object" : "objects"}`;
  return h("button", { type: "button", click: back }, words);
}

/** Waits for the server where it is not there yet. */
async function start() {
  for (;;) {
    try {
      listing.show(await server.captures());
      say("");
      break;
    } catch (problem) {
      say(problem.message);
      if (problem.status && problem.status !== 503) return;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
  const asked = decodeURIComponent(location.hash.slice(1));
  const name = asked || listing.first;
  if (name) await open(name);
  else say("There is no capture here yet. `python -m trainer import` makes one from a film or from photos.");
}

const press = (id, action) => find(id).addEventListener("click", action);
press("#draw", draw);
press("#propose", () => propose());
press("#dismiss", dismiss);
stage.addEventListener("rect", ({ detail: rect }) => propose(rect));
press("#accept", accept);
press("#next", () => open(listing.next));
press("#undo", () => annotation.undo());
press("#redo", () => annotation.redo());
press("#nearer", () => stage.zoomBy(1.5));
press("#wider", () => stage.zoomBy(1 / 1.5));
press("#plan-nearer", () => plan.zoomBy(1.4));
press("#plan-wider", () => plan.zoomBy(1 / 1.4));
find("#earlier").addEventListener("toggle", ({ target }) => target.open && showHistory());

const actions = {
  n: draw,
  p: () => propose(),
  t: () => panel.quarter(),
  enter: accept,
  escape,
  delete: () => annotation.remove(),
  ",": () => strip.step(-1),
  ".": () => strip.step(1),
  " ": () => (strip.playing ? strip.stop() : strip.play()),
};
for (const canvas of [stage.canvas, plan.canvas]) listenToKeys(canvas, annotation, actions);
addEventListener("keydown", (event) => {
  const { value, dataset } = event.target;
  const isTyping = dataset?.written !== undefined && value !== dataset.written; // the field has its own undo
  if (!(event.ctrlKey || event.metaKey) || isTyping || event.key.toLowerCase() !== "z") return;
  event.preventDefault();
  if (event.shiftKey) annotation.redo();
  else annotation.undo();
});
listenToKey();
for (const source of [annotation, sketch]) source.addEventListener("change", () => annotation.capture && showTools());
sketch.addEventListener("done", ({ detail: box }) => {
  annotation.place(box);
  plan.closeIn();
});
annotation.addEventListener("settled", () => {
  say("");
  point(false);
  saving.keep(annotation.present);
  listing.update(annotation.capture.name, annotation.present.objects);
});
start();
