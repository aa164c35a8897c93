// The frames' pictures, fetched once each and kept while they are of use.

import { picture } from "../api.js";
import { imageOf } from "./server.js";

const MOST = { large: 40, small: 400 };

export class Pictures {
  #kept = new Map();

  constructor(width, kind) {
    Object.assign(this, { width, most: MOST[kind] });
  }

  /** A promise of the bitmap; what fails is asked for again the next time. */
  of(name, frame) {
    const place = imageOf(name, frame, this.width);
    const kept = this.#kept.get(place) || this.#fetch(place);
    this.#kept.delete(place); // the least recently used is the first of the map
    this.#kept.set(place, kept);
    for (const old of this.#kept.keys()) {
      if (this.#kept.size <= this.most) break;
      this.#kept.delete(old);
    }
    return kept;
  }

  #fetch(place) {
    const bitmap = picture(place).then(createImageBitmap);
    bitmap.catch(() => this.#kept.delete(place));
    return bitmap;
  }
}
