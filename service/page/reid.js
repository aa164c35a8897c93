// The re-identification tab: asks POST /neighbors and GET /neighbors, and enrols objects where the service can.

import * as api from "./api.js";
import { find, h } from "./dom.js";
import { showMatches, showNeighbors, verdict } from "./found.js";
import { clearProblems, showProblem } from "./problem.js";

export class ReidTab {
  #request = null;
  #first = null; // the answer for the picture, while a frame's is shown
  #enrols = null; // whether the service enrols objects; null until asked

  constructor(query, bench, pose) {
    Object.assign(this, { query, bench, pose, root: find("#reid-answer") });
    find("#back").addEventListener("click", () => this.#show(this.#first));
    find("#enrol").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enrol();
    });
  }

  clear() {
    this.#request?.abort();
    this.#first = null;
    find("#reid-found").hidden = true;
    find("#reid-empty").hidden = false;
  }

  async open() {
    const told = this.pose.isOf(this.query);
    Object.assign(find("#with-box"), { disabled: !told, checked: told });
    await this.#listObjects();
  }

  ask() {
    return this.#asking(async (signal) => {
      this.#first = await api.neighbors(this.query, signal);
      this.#show(this.#first);
    });
  }

  askFrame(frame) {
    return this.#asking(async (signal) => this.#show(await api.neighborsOf(frame, signal), frame));
  }

  async #asking(work) {
    this.#request?.abort();
    const request = (this.#request = new AbortController());
    clearProblems(this.bench, this.root);
    this.root.setAttribute("aria-busy", "true");
    try {
      await work(request.signal);
    } catch (problem) {
      if (problem.name !== "AbortError") showProblem(problem, this.bench, this.root);
    } finally {
      if (this.#request === request) this.root.setAttribute("aria-busy", "false");
    }
  }

  #show({ neighbors, matches }, frame = null) {
    find("#reid-empty").hidden = true;
    find("#reid-found").hidden = false;
    find("#verdict").replaceChildren(h("p", { class: "big" }, verdict(matches)));
    find("#neighbors-of").textContent = frame ? `Neighbours of ${frame}` : "Neighbours";
    find("#back").hidden = !frame || !this.#first;
    showMatches(find("#reid-matches"), matches);
    showNeighbors(find("#reid-neighbors"), neighbors, (neighbor) => this.askFrame(neighbor.frame));
    find("#reid-said").textContent =
      `${verdict(matches)} ${neighbors.length} neighbours${frame ? ` of frame ${frame}` : ""}.`;
  }

  async #listObjects() {
    if (this.#enrols === false) return;
    try {
      const objects = await api.enrolled();
      this.#enrols = true;
      find("#enrolment").hidden = false;
      this.#showObjects(objects);
    } catch (problem) {
      if (problem.status === 404) this.#enrols = false;
      else showProblem(problem, this.root);
    }
  }

  #showObjects(objects) {
    const rows = objects.map(({ object, category, frames, enrolled: count = frames }) => {
      const button = h(
        "button",
        { type: "button", "aria-label": `Delete ${object}`, click: () => this.#forget(object) },
        "Delete",
      );
      return h(
        "li",
        {},
        h("span", { class: "name" }, object, h("small", {}, `${category}, ${count} ${count === 1 ? "view" : "views"}`)),
        button,
      );
    });
    find("#objects").replaceChildren(...(rows.length ? rows : [h("li", { class: "note" }, "None yet.")]));
  }

  async #enrol() {
    clearProblems(this.bench, this.root);
    const { picture, rect } = this.query;
    if (!picture)
      return showProblem(
        new api.Problem({ field: "image", title: "No picture", detail: "choose one first" }),
        this.bench,
        this.root,
      );
    const [object, category] = ["#object", "#object-category"].map((id) => find(id).value.trim());
    const fields = {
      rect,
      category: category || undefined,
      ...(find("#with-box").checked && this.pose.isOf(this.query) ? this.#boxFields() : {}),
    };
    try {
      await api.enrol(object, picture, fields, newKey());
      find("#enrolled").textContent = `This view of ${object} is enrolled.`;
      await this.#listObjects();
    } catch (problem) {
      showProblem(problem, this.root, this.bench, this.root);
    }
  }

  #boxFields() {
    const {
      box: { center, size, rotation },
      fields: { camera, plane },
    } = this.pose.found;
    return { camera, plane, box: { center, size, rotation } };
  }

  async #forget(object) {
    clearProblems(this.root);
    try {
      await api.forget(object);
      find("#enrolled").textContent = `${object} is deleted.`;
      await this.#listObjects();
    } catch (problem) {
      showProblem(problem, this.root);
    }
  }
}

/** 128 random bits; `crypto.randomUUID` is not there on plain HTTP. */
const newKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
