// The walk around the object: a scrubber with play, and frames spread over it, each with the boxes drawn in.

import { context, find, h, once } from "../dom.js";
import { paintBoxes } from "./painting.js";
import { Pictures } from "./pictures.js";
import { throughCamera } from "./projections.js";
import { cornersOf } from "./world.js";

const SHOWN = 6;
const USUAL_FPS = 5;

export class Strip {
  #thumbs = []; // { frame, canvas, button, bitmap }
  #playing = 0;
  #opened = null;

  constructor(root, annotation, sketch) {
    Object.assign(this, { root, annotation, sketch, range: find("#scrub", root), list: find("#strip", root) });
    this.pictures = new Pictures(320, "small");
    this.draw = once(() => this.#draw());
    for (const source of [annotation, sketch]) source.addEventListener("change", this.draw);
    new ResizeObserver(this.draw).observe(root);
    this.range.addEventListener("input", () => annotation.show(Number(this.range.value)));
    find("#play", root).addEventListener("click", () => (this.#playing ? this.stop() : this.play()));
  }

  step(by) {
    this.stop();
    this.annotation.show(this.annotation.frame + by);
  }

  play() {
    const { frames } = this.annotation.capture;
    const seconds = frames.at(-1).time_s - frames[0].time_s;
    const every = seconds > 0 ? (1000 * seconds) / (frames.length - 1) : 1000 / USUAL_FPS;
    this.#playing = setInterval(
      () => this.annotation.show((this.annotation.frame + 1) % frames.length),
      Math.max(60, every),
    );
    this.#showPlaying();
  }

  stop() {
    clearInterval(this.#playing);
    this.#playing = 0;
    this.#showPlaying();
  }

  get playing() {
    return this.#playing !== 0;
  }

  #showPlaying() {
    const button = find("#play", this.root);
    button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    button.dataset.playing = this.playing;
  }

  #open(capture) {
    this.#opened = capture;
    this.stop();
    this.range.max = capture.frames.length - 1;
    const count = Math.min(SHOWN, capture.frames.length);
    this.#thumbs = Array.from({ length: count }, (_, i) =>
      this.#thumb(capture, Math.floor(((i + 0.5) * capture.frames.length) / count)),
    );
    this.list.replaceChildren(...this.#thumbs.map(({ button }) => h("li", {}, button)));
  }

  #thumb(capture, frame) {
    const canvas = h("canvas", { "aria-hidden": "true" });
    const button = h(
      "button",
      { type: "button", click: () => this.annotation.show(frame) },
      canvas,
      h("span", {}, `${frame + 1}`),
    );
    const thumb = { frame, canvas, button, bitmap: null };
    this.pictures.of(capture.name, frame).then(
      (bitmap) => {
        thumb.bitmap = bitmap;
        this.draw();
      },
      () => button.classList.add("missing"),
    );
    return thumb;
  }

  #draw() {
    const { capture, frame } = this.annotation;
    if (!capture) return;
    if (capture !== this.#opened) this.#open(capture);
    this.range.value = frame;
    const time = capture.frames[frame].time_s;
    const words = `${frame + 1} of ${capture.frames.length}`;
    this.range.setAttribute("aria-valuetext", `frame ${words}`);
    find("#scrub-out", this.root).textContent = Number.isFinite(time) ? `${words}, ${time.toFixed(1)} s` : words;
    for (const thumb of this.#thumbs) this.#paint(thumb, capture.frames[thumb.frame]);
  }

  #paint({ frame, canvas, button, bitmap }, shown) {
    const { width, height } = shown.camera || shown;
    const across = button.clientWidth;
    if (!across) return;
    const down = Math.round((across * height) / width);
    const drawing = context(canvas, across, down);
    canvas.style.height = `${down}px`;
    drawing.clearRect(0, 0, across, down);
    if (bitmap) drawing.drawImage(bitmap, 0, 0, across, down);
    const view = shown.world_from_camera && throughCamera(shown, across / width);
    if (view) paintBoxes(drawing, view, this.annotation, this.sketch, 0.6);
    button.setAttribute("aria-current", frame === this.annotation.frame);
    button.setAttribute("aria-label", `Frame ${frame + 1}${this.#seen(view, across, down)}`);
  }

  #seen(view, width, height) {
    const box = this.annotation.object?.box;
    if (!view || !box) return view ? "" : ", without a camera pose";
    const within = cornersOf(box)
      .map(view.point)
      .filter((p) => p && p[0] >= 0 && p[1] >= 0 && p[0] <= width && p[1] <= height).length;
    return within === 8
      ? ", the box is in the picture"
      : within
        ? ", a part of the box is in the picture"
        : ", the box is out of the picture";
  }
}
