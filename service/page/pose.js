// The pose tab: asks POST /pose, and shows the answer.

import * as api from "./api.js";
import { fact, showFacts, showTiming, showWarnings, spoken, summary } from "./answer.js";
import { find } from "./dom.js";
import { showMatches, showNeighbors } from "./found.js";
import { dot, upOf } from "./geometry.js";
import { clearProblems, showProblem } from "./problem.js";
import { Space } from "./space.js";

export class PoseTab {
  found = null; // the last answer's object, and the fields it was asked with
  #request = null;

  constructor(query, stage, bench, pick) {
    Object.assign(this, { query, stage, bench, pick, root: find("#pose-answer"), space: new Space(find("#space")) });
    find("#copy").addEventListener("click", ({ target }) => copy(target, find("#curl").textContent));
  }

  clear() {
    this.#request?.abort();
    this.found = null;
    this.stage.show(null);
    find("#picture").setAttribute("aria-label", "The picture");
    find("#pose-found").hidden = true;
    find("#pose-empty").hidden = false;
    this.root.classList.remove("outdated");
  }

  /** Whether the last answer is a box on a known ground, for the very picture and rectangle of `query`. */
  isOf(query) {
    const { box, fields } = this.found || {};
    return Boolean(box && fields.plane && String(fields.rect) === String(api.poseFields(query).rect));
  }

  /** What is shown is of the query as it was. */
  outdated() {
    this.root.classList.add("outdated");
  }

  /** Asks; a later question takes the place of an earlier one. */
  async ask() {
    this.#request?.abort();
    const request = (this.#request = new AbortController());
    clearProblems(this.bench, this.root);
    this.root.setAttribute("aria-busy", "true");
    const fields = api.poseFields(this.query),
      start = performance.now();
    try {
      const answer = await api.pose(this.query, request.signal);
      this.#show(answer, fields, performance.now() - start);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this.clear();
      showProblem(problem, this.bench, this.root);
    } finally {
      if (this.#request === request) this.root.setAttribute("aria-busy", "false");
    }
  }

  #show(answer, fields, roundTrip) {
    const [found] = answer.objects;
    this.found = { ...found, fields };
    this.root.classList.remove("outdated");
    find("#pose-empty").hidden = true;
    find("#pose-found").hidden = false;
    showFacts(found);
    find("#facts").append(
      fact(["Answered in", `${answer.timing_ms.total.toFixed(0)} ms`, `${roundTrip.toFixed(0)} ms from here and back`]),
    );
    showWarnings(find("#warnings"), answer.warnings);
    showNeighbors(find("#pose-neighbors"), found.neighbors, this.pick);
    showMatches(find("#pose-matches"), found.matches);
    showTiming(find("#timing"), answer.timing_ms, roundTrip);
    find("#curl").textContent = api.curl("pose", this.query.picture, fields);
    find("#pose-said").textContent = spoken(found);
    find("#space").hidden = !found.box;
    this.stage.show(found.box && { box: found.box, label: summary(found), camera: { ...this.query.camera } });
    find("#picture").setAttribute("aria-label", `The picture, and on it ${spoken(found)}`);
    if (found.box) this.#showSpace(found.box);
  }

  #showSpace(box) {
    const { ground, camera, picture } = this.query;
    // Where no ground was given, it is where the box stands.
    const up = ground.known === "none" ? box.rotation.map((row) => row[1]) : upOf(ground);
    const lowest = Math.min(...box.corners.map((corner) => dot(corner, up)));
    this.space.show(box, up, ground.known === "plane" ? ground.height : -lowest, camera, picture);
  }
}

async function copy(button, text) {
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(find("#curl")); // without leave to write: the user copies the selection
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = said), 1500);
}
