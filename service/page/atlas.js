// The index tab: what the index holds, and a map of its embedding.

import { fact } from "./answer.js";
import * as api from "./api.js";
import { context, find, findAll, h, once, style } from "./dom.js";
import { showNeighbors } from "./found.js";
import { clamp } from "./geometry.js";
import { clearProblems, showProblem } from "./problem.js";

const HUES = ["#e8743b", "#3b82d6", "#2fa36b", "#c9538f", "#8a6bd1", "#b38a1d", "#1ba3b4", "#8c6d5a", "#d14b4b", "#7a9a2e", "#5b6ee1", "#9a9a9a"];
const EDGE = 24; // CSS pixels around the map
const NEAR = 14; // CSS pixels within which a point is meant
const MOST_ZOOM = 60;
const TIMES = Array.from({ length: 65 }, (_, i) => `hsl(${220 + (170 * i) / 64} 65% 55%)`);

export class Atlas {
  #map = null;
  #opened = false;
  #view = { zoom: 1, x: 0.5, y: 0.5 };
  #colour = "category";
  #only = null; // the category that stands out
  #chosen = null; // { row, neighbors: rows }
  #middles = []; // a row for each category

  constructor(root) {
    Object.assign(this, { root, canvas: find("#map"), tip: find("#tip"), about: find(".about", root) });
    this.draw = once(() => this.#draw());
    new ResizeObserver(this.draw).observe(this.canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.draw);
    this.#listen();
  }

  async open() {
    this.draw();
    if (this.#opened) return;
    this.#opened = true;
    try {
      const [index, map] = await Promise.all([api.index(), api.indexMap()]);
      this.#map = { ...map, row: new Map(map.frame.map((frame, row) => [frame, row])) };
      this.#middles = this.#map.categories.map((_, i) => middleOf(this.#map, i));
      this.#showFacts(index);
      this.draw();
    } catch (problem) {
      this.#opened = false;
      showProblem(problem, this.about);
    }
  }

  #showFacts(index) {
    const facts = [
      ["Frames", index.frames.toLocaleString("en"), `${index.frames_with_box.toLocaleString("en")} with a box`],
      ["Objects", index.objects.toLocaleString("en")],
      ["Built", `${age(index.age_s)} ago`, new Date(index.created).toLocaleString("en-GB")],
      ["Known from", index.known_threshold === null ? "never" : index.known_threshold.toFixed(3), "similarity"],
      ["Embedding", `${index.dimension}`, "dimensions"],
      ["Confidence", index.calibrated_on ? index.calibrated_on.toLocaleString("en") : "as shipped", index.calibrated_on ? "frames calibrate it" : ""],
      ["Version", index.index],
    ];
    find("#index-facts").replaceChildren(...facts.map(fact));
    const most = Math.max(...index.categories.map(({ frames }) => frames));
    find("#index-categories").replaceChildren(...index.categories.map((entry, i) => h("li", {}, this.#categoryButton(entry, i, most))));
    this.#showHint();
  }

  #showHint() {
    const { method, frame, frames } = this.#map;
    const part = frame.length < frames ? `, ${frame.length.toLocaleString("en")} of ${frames.toLocaleString("en")} frames` : "";
    const time = this.#colour === "time" ? ". Blue: a video's start, orange: its end" : "";
    find("#map-method").textContent = `${method === "pca" ? "Principal components" : "t-SNE"}${part}${time}`;
  }

  #categoryButton({ category, frames, objects }, i, most) {
    const bar = h("i", {});
    Object.assign(bar.style, { width: `${(100 * frames) / most}%`, background: hue(i) });
    const button = h("button", { type: "button", "aria-pressed": "false", click: () => {
      this.#only = this.#only === i ? null : i;
      for (const other of findAll("button", find("#index-categories"))) other.setAttribute("aria-pressed", other === button && this.#only === i);
      this.draw();
    } }, h("span", {}, category), h("span", { class: "meter" }, bar), h("small", {}, `${frames.toLocaleString("en")} · ${objects}`));
    button.title = `${frames} frames of ${objects} objects; press to make them stand out`;
    return button;
  }

  /** Where a row is, in CSS pixels. */
  #place(row) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const side = Math.min(width, height) - 2 * EDGE, { zoom, x, y } = this.#view, { grid } = this.#map;
    return [width / 2 + side * zoom * (this.#map.x[row] / grid - x), height / 2 + side * zoom * (this.#map.y[row] / grid - y)];
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!this.#map || !width) return;
    const drawing = context(this.canvas, width, height);
    drawing.clearRect(0, 0, width, height);
    const crowd = Math.min(1, Math.sqrt(6000 / this.#map.frame.length));
    const radius = clamp(0.0026 * Math.min(width, height) * crowd * Math.sqrt(this.#view.zoom), 1, 5);
    for (const above of [false, true]) this.#drawPoints(drawing, radius, above);
    if (this.#colour === "category") this.#drawNames(drawing);
    this.#drawChosen(drawing);
    if (document.activeElement === this.canvas) crosshair(drawing, width / 2, height / 2);
  }

  /** Those that stand out are drawn last. */
  #drawPoints(drawing, radius, above) {
    const { category, position, frame } = this.#map, { clientWidth: width, clientHeight: height } = this.canvas;
    const dim = this.#only !== null;
    for (let row = 0; row < frame.length; row++) {
      const out = !dim || category[row] === this.#only;
      if (out !== above) continue;
      const [x, y] = this.#place(row);
      if (x < -5 || y < -5 || x > width + 5 || y > height + 5) continue;
      drawing.globalAlpha = out ? 0.85 : 0.12;
      drawing.fillStyle = this.#colour === "time" ? timeHue(position[row]) : hue(category[row]);
      drawing.beginPath();
      drawing.arc(x, y, radius, 0, 7);
      drawing.fill();
    }
    drawing.globalAlpha = 1;
  }

  /** Each category's name on its middle frame. */
  #drawNames(drawing) {
    drawing.font = `600 12px ${style("--sans")}`;
    drawing.textAlign = "center";
    drawing.lineWidth = 4;
    drawing.lineJoin = "round";
    drawing.strokeStyle = style("--surface");
    drawing.fillStyle = style("--ink");
    this.#map.categories.forEach((name, i) => {
      const [x, y] = this.#place(this.#middles[i]);
      drawing.strokeText(name, x, y + 4);
      drawing.fillText(name, x, y + 4);
    });
  }

  #drawChosen(drawing) {
    if (!this.#chosen) return;
    const from = this.#place(this.#chosen.row);
    drawing.strokeStyle = style("--ink");
    for (const row of this.#chosen.neighbors) {
      const to = this.#place(row);
      drawing.lineWidth = 0.75;
      line(drawing, from, to);
      drawing.lineWidth = 1.5;
      ring(drawing, to, 4.5);
    }
    drawing.lineWidth = 2.5;
    ring(drawing, from, 7);
  }

  #nearest(x, y, most = NEAR) {
    let best = null, least = most;
    for (let row = 0; row < this.#map.frame.length; row++) {
      const [px, py] = this.#place(row);
      const away = Math.hypot(px - x, py - y);
      if (away < least) [best, least] = [row, away];
    }
    return best;
  }

  #zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const side = Math.min(this.canvas.clientWidth, this.canvas.clientHeight) - 2 * EDGE, view = this.#view;
    const zoom = clamp(view.zoom * factor, 1, MOST_ZOOM);
    const [dx, dy] = [x - this.canvas.clientWidth / 2, y - this.canvas.clientHeight / 2];
    view.x += (dx / side) * (1 / view.zoom - 1 / zoom);
    view.y += (dy / side) * (1 / view.zoom - 1 / zoom);
    view.zoom = zoom;
    this.#limit();
  }

  #pan(dx, dy) {
    const side = Math.min(this.canvas.clientWidth, this.canvas.clientHeight) - 2 * EDGE;
    this.#view.x -= dx / side / this.#view.zoom;
    this.#view.y -= dy / side / this.#view.zoom;
    this.#limit();
  }

  #limit() {
    for (const axis of ["x", "y"]) this.#view[axis] = clamp(this.#view[axis], 0, 1);
    this.tip.hidden = true;
    this.draw();
  }

  #all() {
    this.#view = { zoom: 1, x: 0.5, y: 0.5 };
    this.draw();
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#zoom(Math.exp(-event.deltaY / 350), event.offsetX, event.offsetY);
    }, { passive: false });
    this.#listenToPointers();
    canvas.addEventListener("keydown", (event) => this.#key(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, this.draw);
    find("#zoom-in").addEventListener("click", () => this.#zoom(1.6));
    find("#zoom-out").addEventListener("click", () => this.#zoom(1 / 1.6));
    find("#zoom-all").addEventListener("click", () => this.#all());
    const colours = findAll("[data-colour]", this.root);
    for (const button of colours) {
      button.addEventListener("click", () => {
        this.#colour = button.dataset.colour;
        for (const other of colours) other.setAttribute("aria-pressed", other === button);
        if (this.#map) this.#showHint();
        this.draw();
      });
    }
  }

  /** One pointer pans, two zoom; a press that does not move chooses a point. */
  #listenToPointers() {
    const { canvas } = this, down = new Map();
    let moved = 0;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      down.set(event.pointerId, event);
      moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = down.get(event.pointerId);
      if (!before) return this.#map && event.pointerType === "mouse" && this.#hover(event);
      const other = [...down.values()].find(({ pointerId }) => pointerId !== event.pointerId);
      if (other) this.#zoom(apart(event, other) / apart(before, other), (event.offsetX + other.offsetX) / 2, (event.offsetY + other.offsetY) / 2);
      else this.#pan(event.offsetX - before.offsetX, event.offsetY - before.offsetY);
      moved += apart(event, before);
      down.set(event.pointerId, event);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => {
        down.delete(event.pointerId);
        if (name === "pointerup" && moved < 5 && !down.size) this.#choose(this.#map && this.#nearest(event.offsetX, event.offsetY));
      });
    }
    canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
  }

  #key(event) {
    if (!this.#map) return;
    const way = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    const zoom = { "+": 1.4, "=": 1.4, "-": 1 / 1.4 }[event.key];
    const [x, y] = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
    if (way) this.#pan(...way);
    else if (zoom) this.#zoom(zoom);
    else if (event.key === "0") this.#all();
    else if (event.key === "Enter") this.#choose(this.#nearest(x, y, Infinity));
    else return;
    event.preventDefault();
  }

  #hover(event) {
    const row = this.#nearest(event.offsetX, event.offsetY);
    this.canvas.style.cursor = row === null ? "grab" : "pointer";
    this.tip.hidden = row === null;
    if (row === null) return;
    const frame = this.#map.frame[row];
    if (this.tip.dataset.frame !== frame) {
      this.tip.dataset.frame = frame;
      const image = h("img", { alt: "" });
      api.showPicture(image, "src", api.imageOf(frame));
      this.tip.replaceChildren(image, h("b", {}, this.#map.categories[this.#map.category[row]]), h("small", {}, frame));
    }
    const [x, y] = this.#place(row), { clientWidth: width, clientHeight: height } = this.canvas;
    const right = x > width - 170, low = y > height / 2;
    Object.assign(this.tip.style, { left: `${right ? x - 158 : x + 14}px`, top: low ? "auto" : `${y + 8}px`, bottom: low ? `${height - y + 8}px` : "auto" });
  }

  async #choose(row) {
    if (row === null) return;
    const frame = this.#map.frame[row];
    clearProblems(this.about);
    try {
      const { neighbors } = await api.neighborsOf(frame, 10);
      const rows = neighbors.map((neighbor) => this.#map.row.get(neighbor.frame)).filter((found) => found !== undefined);
      this.#chosen = { row, neighbors: rows };
      const title = find("#map-neighbors-title");
      Object.assign(title, { hidden: false, textContent: `Neighbours of ${frame}` });
      showNeighbors(find("#map-neighbors"), neighbors, (neighbor) => this.#choose(this.#map.row.get(neighbor.frame) ?? null));
      find("#map-said").textContent = `${neighbors.length} neighbours of frame ${frame}, the nearest of category ${neighbors[0]?.category}.`;
      this.draw();
    } catch (problem) {
      showProblem(problem, this.about);
    }
  }
}

const hue = (category) => HUES[category % HUES.length];
/** From blue at the start to orange at the end of the video. */
const timeHue = (position) => TIMES[Math.round(position * (TIMES.length - 1))];
const apart = (a, b) => Math.hypot(a.offsetX - b.offsetX, a.offsetY - b.offsetY) || 1e-6;

/** The row of a category that is nearest to the median of its places. */
function middleOf({ category, x, y }, wanted) {
  const rows = [...category.keys()].filter((row) => category[row] === wanted);
  const median = (values) => rows.map((row) => values[row]).sort((a, b) => a - b)[rows.length >> 1];
  const [mx, my] = [median(x), median(y)];
  const away = (row) => (x[row] - mx) ** 2 + (y[row] - my) ** 2;
  return rows.reduce((best, row) => (away(row) < away(best) ? row : best));
}

function age(seconds) {
  const units = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
  const [size, name] = units.find(([size]) => seconds >= size) || units.at(-1);
  const count = Math.floor(seconds / size);
  return `${count} ${name}${count === 1 ? "" : "s"}`;
}

function line(drawing, a, b) {
  drawing.beginPath();
  drawing.moveTo(...a);
  drawing.lineTo(...b);
  drawing.stroke();
}

function ring(drawing, [x, y], radius) {
  drawing.beginPath();
  drawing.arc(x, y, radius, 0, 7);
  drawing.stroke();
}

function crosshair(drawing, x, y) {
  drawing.strokeStyle = style("--muted");
  drawing.lineWidth = 1;
  line(drawing, [x - 9, y], [x + 9, y]);
  line(drawing, [x, y - 9], [x, y + 9]);
}
