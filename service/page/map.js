// The map of an embedding on a canvas: points that can be zoomed, panned, pointed at and chosen.

import { context, once, style } from "./dom.js";
import { clamp } from "./geometry.js";

const HUES = [
  ["#e8743b", "#3b82d6", "#2fa36b", "#c9538f", "#8a6bd1", "#b38a1d"],
  ["#1ba3b4", "#8c6d5a", "#d14b4b", "#7a9a2e", "#5b6ee1", "#9a9a9a"],
].flat();
// From blue at the start of a video to orange at its end.
const TIMES = Array.from({ length: 65 }, (_, i) => `hsl(${220 + (170 * i) / 64} 65% 55%)`);
const EDGE = 24; // CSS pixels around the map
const NEAR = 14; // CSS pixels within which a point is meant
const MOST_ZOOM = 60;
const CROWD = 6000; // points, from which on they are drawn smaller
const WHOLE = { zoom: 1, x: 0.5, y: 0.5 };
const KEYS = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
const ZOOM_KEYS = { "+": 1.4, "=": 1.4, "-": 1 / 1.4 };

export const hue = (category) => HUES[category % HUES.length];

export class EmbeddingMap {
  data = null; // as GET /index/map answers it
  colour = "category"; // or "time"
  only = null; // the category that stands out
  chosen = null; // { row, neighbors: rows }
  #view = { ...WHOLE };
  #middles = []; // a row for each category

  /** `choose(row)` and `hover(row or null, [x, y])` are called as it is used. */
  constructor(canvas, { choose, hover }) {
    Object.assign(this, { canvas, choose, hover });
    this.draw = once(() => this.#draw());
    new ResizeObserver(this.draw).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", this.draw);
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, this.draw);
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.#listenToPointers();
  }

  show(data) {
    this.data = data;
    this.#middles = data.categories.map((_, category) => middleOf(data, category));
    this.draw();
  }

  set(parts) {
    Object.assign(this, parts);
    this.draw();
  }

  get #side() {
    return Math.min(this.canvas.clientWidth, this.canvas.clientHeight) - 2 * EDGE;
  }

  get #middle() {
    return [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
  }

  /** Where a row is, in CSS pixels. */
  #place(row) {
    const [mx, my] = this.#middle;
    const { zoom, x, y } = this.#view;
    const unit = this.#side * zoom;
    return [mx + unit * (this.data.x[row] / this.data.grid - x), my + unit * (this.data.y[row] / this.data.grid - y)];
  }

  #nearest([x, y], most = NEAR) {
    let best = null;
    let least = most;
    for (let row = 0; row < this.data.frame.length; row++) {
      const [px, py] = this.#place(row);
      const away = Math.hypot(px - x, py - y);
      if (away < least) [best, least] = [row, away];
    }
    return best;
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!this.data || !width) return;
    const drawing = context(this.canvas, width, height);
    drawing.clearRect(0, 0, width, height);
    for (const above of [false, true]) this.#drawPoints(drawing, width, height, above);
    if (this.colour === "category") this.#drawNames(drawing);
    if (this.chosen) this.#drawChosen(drawing);
    if (document.activeElement === this.canvas) crosshair(drawing, ...this.#middle);
  }

  /** Those that stand out are drawn last. */
  #drawPoints(drawing, width, height, above) {
    const { category, position, frame } = this.data;
    const crowd = Math.min(1, Math.sqrt(CROWD / frame.length));
    const radius = clamp(0.0026 * Math.min(width, height) * crowd * Math.sqrt(this.#view.zoom), 1, 5);
    for (let row = 0; row < frame.length; row++) {
      const out = this.only === null || category[row] === this.only;
      const [x, y] = this.#place(row);
      if (out !== above || x < -5 || y < -5 || x > width + 5 || y > height + 5) continue;
      drawing.globalAlpha = out ? 0.85 : 0.12;
      drawing.fillStyle = this.colour === "time" ? TIMES[Math.round(64 * position[row])] : hue(category[row]);
      drawing.beginPath();
      drawing.arc(x, y, radius, 0, 7);
      drawing.fill();
    }
    drawing.globalAlpha = 1;
  }

  /** Each category's name on its middle frame. */
  #drawNames(drawing) {
    Object.assign(drawing, {
      font: `600 12px ${style("--sans")}`,
      textAlign: "center",
      lineWidth: 4,
      lineJoin: "round",
    });
    Object.assign(drawing, { strokeStyle: style("--surface"), fillStyle: style("--ink") });
    this.data.categories.forEach((name, category) => {
      const [x, y] = this.#place(this.#middles[category]);
      drawing.strokeText(name, x, y + 4);
      drawing.fillText(name, x, y + 4);
    });
  }

  #drawChosen(drawing) {
    const from = this.#place(this.chosen.row);
    drawing.strokeStyle = style("--ink");
    for (const row of this.chosen.neighbors) {
      const to = this.#place(row);
      drawing.lineWidth = 0.75;
      line(drawing, from, to);
      drawing.lineWidth = 1.5;
      ring(drawing, to, 4.5);
    }
    drawing.lineWidth = 2.5;
    ring(drawing, from, 7);
  }

  /** Zooms about a place that stays where it is. */
  zoom(factor, [x, y] = this.#middle) {
    const view = this.#view;
    const zoom = clamp(view.zoom * factor, 1, MOST_ZOOM);
    const [mx, my] = this.#middle;
    view.x += ((x - mx) / this.#side) * (1 / view.zoom - 1 / zoom);
    view.y += ((y - my) / this.#side) * (1 / view.zoom - 1 / zoom);
    view.zoom = zoom;
    this.#limit();
  }

  whole() {
    this.#view = { ...WHOLE };
    this.#limit();
  }

  #pan(dx, dy) {
    this.#view.x -= dx / this.#side / this.#view.zoom;
    this.#view.y -= dy / this.#side / this.#view.zoom;
    this.#limit();
  }

  #limit() {
    for (const axis of ["x", "y"]) this.#view[axis] = clamp(this.#view[axis], 0, 1);
    this.hover(null);
    this.draw();
  }

  #wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY / 350), [event.offsetX, event.offsetY]);
  }

  #key(event) {
    if (!this.data) return;
    if (KEYS[event.key]) this.#pan(...KEYS[event.key]);
    else if (ZOOM_KEYS[event.key]) this.zoom(ZOOM_KEYS[event.key]);
    else if (event.key === "0") this.whole();
    else if (event.key === "Enter") this.choose(this.#nearest(this.#middle, Infinity));
    else return;
    event.preventDefault();
  }

  /** One pointer pans, two zoom; a press that does not move chooses a point. */
  #listenToPointers() {
    const down = new Map();
    let moved = 0;
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      down.set(event.pointerId, event);
      moved = 0;
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const before = down.get(event.pointerId);
      if (!before) return this.#point(event);
      const other = [...down.values()].find(({ pointerId }) => pointerId !== event.pointerId);
      if (other) this.#pinch(before, event, other);
      else this.#pan(event.offsetX - before.offsetX, event.offsetY - before.offsetY);
      moved += apart(event, before);
      down.set(event.pointerId, event);
    });
    const up = (event) => {
      down.delete(event.pointerId);
      const row = event.type === "pointerup" && moved < 5 && !down.size ? this.#under(event) : null;
      if (row !== null) this.choose(row);
    };
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, up);
    this.canvas.addEventListener("pointerleave", () => this.hover(null));
  }

  #pinch(before, event, other) {
    const middle = [(event.offsetX + other.offsetX) / 2, (event.offsetY + other.offsetY) / 2];
    this.zoom(apart(event, other) / apart(before, other), middle);
  }

  #under(event) {
    return this.data && this.#nearest([event.offsetX, event.offsetY]);
  }

  #point(event) {
    if (event.pointerType !== "mouse") return;
    const row = this.#under(event);
    this.canvas.style.cursor = row === null ? "grab" : "pointer";
    this.hover(row, row === null ? null : this.#place(row));
  }
}

const apart = (a, b) => Math.hypot(a.offsetX - b.offsetX, a.offsetY - b.offsetY) || 1e-6;

/** The row of a category that is nearest to the median of its places. */
function middleOf({ category, x, y }, wanted) {
  const rows = [...category.keys()].filter((row) => category[row] === wanted);
  const median = (values) => rows.map((row) => values[row]).sort((a, b) => a - b)[rows.length >> 1];
  const [mx, my] = [median(x), median(y)];
  const away = (row) => (x[row] - mx) ** 2 + (y[row] - my) ** 2;
  return rows.reduce((best, row) => (away(row) < away(best) ? row : best), rows[0]);
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
