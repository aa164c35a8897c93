// What is asked: picture, camera, ground and rectangle. Everything that shows or edits it listens to it.

import { picture as fetchPicture } from "./api.js";
import { clamp, focalOfView, groundOf, viewOfFocal } from "./geometry.js";
import { focalLength35, focalPixels } from "./exif.js";

const USUAL_VIEW = 67; // degrees along the longer side: a phone's main camera
const USUAL_GROUND = { known: "up", pitch: 35, roll: 0, height: 0.5 };
const LEAST_RECT = 4; // pixels
const MOST_SHOWN = 2048; // pixels

export class Query extends EventTarget {
  picture = null; // { file, name, bitmap, width, height }
  camera = null; // { fx, fy, cx, cy }
  cameraFrom = "";
  ground = { ...USUAL_GROUND };
  rect = null;
  options = {}; // k and category, where they are not the service's own choice

  #turn = 0;

  /** Changes parts of it. `settled` is false while a drag goes on. */
  set(parts, settled = true) {
    Object.assign(this, parts);
    this.dispatchEvent(new CustomEvent("change", { detail: { parts: Object.keys(parts), settled } }));
  }

  /** A picture of the user's: camera from its EXIF where that is there. Throws where it is no picture. */
  async open(file) {
    const turn = ++this.#turn;
    const picture = await decoded(file, file.name || "picture.jpg");
    const focal = await focalLength35(file);
    if (turn !== this.#turn) return;
    const view = focal ? focalPixels(focal, picture.width, picture.height) : focalOfView(USUAL_VIEW, longer(picture));
    this.set({
      picture,
      camera: centred(view, picture),
      cameraFrom: focal ? `From EXIF: ${focal} mm on 35 mm film` : "The picture does not tell: a phone's usual view",
      ground: { ...USUAL_GROUND },
      rect: [0.2, 0.2, 0.8, 0.8].map((part, i) => Math.round(part * (i % 2 ? picture.height : picture.width))),
    });
  }

  /** A sample with all that belongs to it. Of several that are opened at once, the last one counts. */
  async openSample({ name, image, camera, plane, rect }) {
    const turn = ++this.#turn;
    const picture = await decoded(await fetchPicture(image), `${name}.jpg`);
    if (turn !== this.#turn) return;
    const { fx, fy, cx, cy } = camera;
    this.set({
      picture,
      camera: { fx, fy, cx, cy },
      cameraFrom: "The sample's own",
      ground: plane ? { known: "plane", ...groundOf(plane) } : { ...USUAL_GROUND },
      rect,
    });
  }

  setRect(rect, settled) {
    const { width, height } = this.picture;
    const [x0, x1] = [rect[0], rect[2]].sort((a, b) => a - b).map((x) => clamp(x, 0, width));
    const [y0, y1] = [rect[1], rect[3]].sort((a, b) => a - b).map((y) => clamp(y, 0, height));
    if (x1 - x0 < LEAST_RECT || y1 - y0 < LEAST_RECT) return;
    this.set({ rect: [x0, y0, x1, y1].map((v) => Math.round(v * 10) / 10) }, settled);
  }

  /** Moves the rectangle as far as the picture goes. */
  moveRect([x0, y0, x1, y1], dx, dy, settled) {
    const { width, height } = this.picture;
    const [across, down] = [clamp(dx, -x0, width - x1), clamp(dy, -y0, height - y1)];
    this.setRect([x0 + across, y0 + down, x1 + across, y1 + down], settled);
  }

  setGround(parts, settled) {
    this.set({ ground: { ...this.ground, ...parts } }, settled);
  }

  get view() {
    return this.camera ? viewOfFocal(this.camera.fx, longer(this.picture)) : USUAL_VIEW;
  }

  setView(angle, settled) {
    this.set(
      { camera: centred(focalOfView(angle, longer(this.picture)), this.picture), cameraFrom: "Set by hand" },
      settled,
    );
  }
}

const longer = ({ width, height }) => Math.max(width, height);
const centred = (focal, { width, height }) => ({ fx: focal, fy: focal, cx: width / 2, cy: height / 2 });

async function decoded(file, name) {
  const whole = await createImageBitmap(file); // upright: EXIF orientation is applied
  const { width, height } = whole;
  return { file, name, bitmap: await shown(whole), width, height };
}

/** What is drawn: no more pixels than a screen has, so that a drag stays smooth. */
async function shown(whole) {
  const scale = MOST_SHOWN / longer(whole);
  if (scale >= 1) return whole;
  const [resizeWidth, resizeHeight] = [whole.width, whole.height].map((side) => Math.round(side * scale));
  const small = await createImageBitmap(whole, { resizeWidth, resizeHeight, resizeQuality: "high" });
  whole.close();
  return small;
}
