// The index tab: what the index holds, its map, and the neighbours of a frame that is chosen there.

import { fact } from "./answer.js";
import * as api from "./api.js";
import { find, findAll, h } from "./dom.js";
import { showNeighbors } from "./found.js";
import { EmbeddingMap, hue } from "./map.js";
import { clearProblems, showProblem } from "./problem.js";

const TIP = 144; // CSS pixels, the width of what a point shows

export class Atlas {
  #rows = new Map(); // by frame
  #opened = false;

  constructor(root) {
    Object.assign(this, { root, tip: find("#tip"), about: find(".about", root) });
    const used = { choose: (row) => this.#choose(row), hover: (row, place) => this.#hover(row, place) };
    this.map = new EmbeddingMap(find("#map"), used);
    this.#listen();
  }

  async open() {
    this.map.draw();
    if (this.#opened) return;
    this.#opened = true;
    try {
      const [index, map] = await Promise.all([api.index(), api.indexMap()]);
      this.#rows = new Map(map.frame.map((frame, row) => [frame, row]));
      this.map.show(map);
      this.#showFacts(index);
      this.#showHint();
    } catch (problem) {
      this.#opened = false;
      showProblem(problem, this.about);
    }
  }

  #listen() {
    find("#zoom-in").addEventListener("click", () => this.map.zoom(1.6));
    find("#zoom-out").addEventListener("click", () => this.map.zoom(1 / 1.6));
    find("#zoom-all").addEventListener("click", () => this.map.whole());
    const colours = findAll("[data-colour]", this.root);
    for (const button of colours) {
      button.addEventListener("click", () => {
        this.map.set({ colour: button.dataset.colour });
        for (const other of colours) other.setAttribute("aria-pressed", other === button);
        this.#showHint();
      });
    }
  }

  #showFacts(index) {
    const count = (number) => number.toLocaleString("en");
    const facts = [
      ["Frames", count(index.frames), `${count(index.frames_with_box)} with a box`],
      ["Objects", count(index.objects)],
      ["Built", `${age(index.age_s)} ago`, new Date(index.created).toLocaleString("en-GB")],
      ["Known from", index.known_from?.toFixed(2) ?? "never", "probability"],
      ["Embedding", count(index.dimension), "dimensions"],
      index.calibrated_on
        ? ["Confidence", count(index.calibrated_on), "frames calibrate it"]
        : ["Confidence", "as shipped"],
      ["Version", index.index],
    ];
    find("#index-facts").replaceChildren(...facts.map(fact));
    const most = Math.max(...index.categories.map(({ frames }) => frames));
    const buttons = index.categories.map((entry, i) => this.#categoryButton(entry, i, most));
    find("#index-categories").replaceChildren(...buttons.map((button) => h("li", {}, button)));
  }

  #categoryButton({ category, frames, objects }, i, most) {
    const bar = h("i");
    Object.assign(bar.style, { width: `${(100 * frames) / most}%`, background: hue(i) });
    const title = `${frames} frames of ${objects} objects; press to make them stand out`;
    const click = ({ currentTarget }) => {
      this.map.set({ only: this.map.only === i ? null : i });
      for (const other of findAll("button", find("#index-categories"))) {
        other.setAttribute("aria-pressed", other === currentTarget && this.map.only === i);
      }
    };
    const count = h("small", {}, `${frames.toLocaleString("en")} · ${objects}`);
    const meter = h("span", { class: "meter" }, bar);
    return h(
      "button",
      { type: "button", "aria-pressed": "false", title, click },
      h("span", {}, category),
      meter,
      count,
    );
  }

  #showHint() {
    if (!this.map.data) return;
    const { method, frame, frames } = this.map.data;
    const [shown, all] = [frame.length, frames].map((number) => number.toLocaleString("en"));
    const part = shown === all ? "" : `, ${shown} of ${all} frames`;
    const time = this.map.colour === "time" ? ". Blue: a video's start, orange: its end" : "";
    find("#map-method").textContent = `${method === "pca" ? "Principal components" : "t-SNE"}${part}${time}`;
  }

  #hover(row, place) {
    this.tip.hidden = row === null;
    if (row === null) return;
    const { frame, categories, category } = this.map.data;
    if (this.tip.dataset.frame !== frame[row]) {
      const image = h("img", { alt: "" });
      api.showPicture(image, "src", api.imageOf(frame[row]));
      this.tip.dataset.frame = frame[row];
      this.tip.replaceChildren(image, h("b", {}, categories[category[row]]), h("small", {}, frame[row]));
    }
    this.#placeTip(place);
  }

  /** Beside the point, on the side where there is room. */
  #placeTip([x, y]) {
    const { clientWidth: width, clientHeight: height } = this.map.canvas;
    const left = x > width - TIP - 26 ? x - TIP - 14 : x + 14;
    const low = y > height / 2;
    const [top, bottom] = low ? ["auto", `${height - y + 8}px`] : [`${y + 8}px`, "auto"];
    Object.assign(this.tip.style, { left: `${left}px`, top, bottom });
  }

  async #choose(row) {
    const frame = this.map.data.frame[row];
    clearProblems(this.about);
    try {
      const { neighbors } = await api.neighborsOf(frame);
      const rows = neighbors.map((neighbor) => this.#rows.get(neighbor.frame)).filter((found) => found !== undefined);
      this.map.set({ chosen: { row, neighbors: rows } });
      this.#showChosen(frame, neighbors);
    } catch (problem) {
      showProblem(problem, this.about);
    }
  }

  #showChosen(frame, neighbors) {
    find("#chosen").hidden = false;
    find("#map-neighbors-title").textContent = `Neighbours of ${frame}`;
    showNeighbors(find("#map-neighbors"), neighbors, (neighbor) => {
      const row = this.#rows.get(neighbor.frame);
      if (row !== undefined) this.#choose(row); // a map of part of the index may lack it
    });
    const nearest = neighbors.length ? `, the nearest of category ${neighbors[0].category}` : "";
    find("#map-said").textContent = `${neighbors.length} neighbours of frame ${frame}${nearest}.`;
  }
}

function age(seconds) {
  const units = [
    [86400, "day"],
    [3600, "hour"],
    [60, "minute"],
    [1, "second"],
  ];
  const [size, name] = units.find(([size]) => seconds >= size) || units.at(-1);
  const count = Math.floor(seconds / size);
  return `${count} ${name}${count === 1 ? "" : "s"}`;
}
