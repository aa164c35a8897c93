// Saves by itself. What the server has not confirmed stays in this browser, and is sent again until it is.

import { annotationOf } from "./server.js";

const QUIET_MS = 300; // after the last change
const RETRY_MS = [500, 1000, 2000, 4000];
const AGAIN = new Set([408, 429]); // refusals for now: too slow, too many
const MOST_SENT = 50;
const PREFIX = "nearpose-unsaved/"; // then the capture's name, and whose it is: the browser's tabs share the storage

/** The same but for the last digits: numbers went through the server's arithmetic. */
export function alike(a, b) {
  if (typeof a === "number" && typeof b === "number") return Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(a));
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return a === b;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => name in b && alike(a[name], b[name]));
}

/** Whether this browser holds changes of a capture that are not confirmed. */
export const isKept = (name) => stored(name).length > 0;

/** What this browser keeps of a capture, by key, the latest first; nothing where it may keep none. */
function stored(name) {
  try {
    const keys = Object.keys(localStorage).filter((key) => key === PREFIX + name || key.startsWith(`${PREFIX + name}/`));
    return keys.flatMap(read).toSorted((a, b) => b.kept.at - a.kept.at);
  } catch {
    return [];
  }
}

function read(key) {
  try {
    const kept = JSON.parse(localStorage.getItem(key));
    return kept ? [{ key, kept: { at: 0, ...kept } }] : [];
  } catch {
    return []; // not what a page has stored
  }
}

/** The keys of pages that are open: each holds a lock of that name. Over plain HTTP browsers have no locks: none is known. */
async function keysInUse() {
  try {
    const { held } = (await navigator.locks?.query()) || { held: [] };
    return new Set(held.map(({ name }) => name));
  } catch {
    return new Set(); // forbidden, as storage then is
  }
}

function forget(key) {
  try {
    localStorage.removeItem(key);
  } catch {
    // Nothing is kept where that is forbidden.
  }
}

/** Of one capture. Dispatches `state`: saved, waiting, saving, offline, refused or conflict. */
export class Saving extends EventTarget {
  state = "saved";
  problem = null;
  theirs = null; // { revision, annotation } that someone else saved
  #own = null; // what this page has stored, or would have if the browser had let it
  #key = null; // where
  #revision = null;
  #wanted = null; // the annotation that is not confirmed yet
  #sent = []; // those that were sent, and may have been saved without our hearing of it
  #sending = null; // a promise: what changes meanwhile is sent after it
  #timer = 0;
  #failures = 0;

  /** `send(revision, annotation)` resolves to { revision }, or rejects with a Problem. */
  constructor(name, send) {
    super();
    Object.assign(this, { name, send });
    this.#key = `${PREFIX + name}/${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
    // As long as the page is there; where storage is forbidden, so are locks, and nothing is kept.
    navigator.locks?.request(this.#key, () => new Promise(() => {})).catch(() => {});
    addEventListener("online", () => this.state === "offline" && this.#later(0));
    document.addEventListener("visibilitychange", () => document.hidden && this.flush());
  }

  /** Begins with what the server has; returns the annotation to go on with. */
  async open(revision, annotation) {
    const kept = this.#own || (await this.#takeOver(annotation));
    if (!kept || alike(kept.annotation, annotation)) {
      this.#accepted(revision, (this.#wanted = null));
      return annotation;
    }
    [this.#wanted, this.#sent] = [kept.annotation, kept.sent];
    this.#revision = kept.revision;
    if (kept.revision === revision) this.keep(kept.annotation);
    else this.#clash({ revision, annotation });
    return kept.annotation;
  }

  /** The latest changes that a page has left; those before them stay for the next time, unless they are what is saved. */
  async #takeOver(saved) {
    const inUse = await keysInUse();
    for (const { key, kept } of stored(this.name).filter((item) => !inUse.has(item.key))) {
      const isSaved = alike(kept.annotation, saved);
      if (isSaved || this.#store(kept)) forget(key);
      if (!isSaved) return kept;
    }
    return null;
  }

  /** What was changed since: kept here at once, sent soon. */
  keep(annotation) {
    this.#wanted = annotation;
    this.#storeWanted();
    if (this.state !== "conflict") this.#later(QUIET_MS);
  }

  /** Sends now what is waiting; done when that was answered, or was not. */
  async flush() {
    if (!this.#wanted || this.state === "conflict") return;
    clearTimeout(this.#timer);
    await this.#send();
  }

  /** Ends a conflict with this page's state: it replaces the other. */
  keepMine() {
    this.#revision = this.theirs.revision;
    this.#resolve();
    this.keep(this.#wanted);
  }

  /** Ends a conflict with the other state, which is returned. */
  takeTheirs() {
    const { revision, annotation } = this.theirs;
    this.#resolve();
    this.#accepted(revision, this.#wanted);
    return annotation;
  }

  #resolve() {
    this.theirs = null;
    this.#become("waiting");
  }

  #later(after) {
    if (!this.#failures) this.#become("waiting");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#send(), after);
  }

  async #send() {
    if (!this.#wanted) return;
    this.#sending ||= this.#sendWanted().then((answer) => {
      this.#sending = null;
      answer();
    });
    await this.#sending;
  }

  /** What is to be done about the answer. */
  async #sendWanted() {
    const sent = this.#wanted;
    this.#sent = [...this.#sent.slice(1 - MOST_SENT), sent];
    this.#storeWanted();
    if (!this.#failures) this.#become("saving");
    try {
      const { revision } = await this.send(this.#revision, sent);
      return () => this.#accepted(revision, sent);
    } catch (problem) {
      return () => this.#failed(problem);
    }
  }

  #accepted(revision, sent) {
    Object.assign(this, { problem: null });
    [this.#revision, this.#sent, this.#failures] = [revision, [], 0];
    if (this.#wanted !== sent) return this.keep(this.#wanted);
    this.#wanted = null;
    this.#forget();
    this.#become("saved");
  }

  #failed(problem) {
    this.problem = problem;
    if (problem.status === 412)
      return this.#clash({ revision: problem.body.revision, annotation: annotationOf(problem.body) });
    if (problem.status >= 400 && problem.status < 500 && !AGAIN.has(problem.status)) return this.#become("refused");
    this.#become("offline");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#send(), RETRY_MS[Math.min(this.#failures++, RETRY_MS.length - 1)]);
  }

  /** Another state is saved. Where that is what this page has sent, only the answer was lost: no conflict. */
  #clash({ revision, annotation }) {
    const saved = this.#sent.find((sent) => alike(annotation, sent));
    if (saved) return this.#accepted(revision, alike(saved, this.#wanted) ? this.#wanted : saved);
    this.theirs = { revision, annotation };
    this.#become("conflict");
  }

  #storeWanted() {
    this.#store({ revision: this.#revision, annotation: this.#wanted, sent: this.#sent, at: Date.now() });
  }

  /** Whether it could be stored. Where the storage is full or forbidden, the server is still sent all of it. */
  #store(changes) {
    this.#own = changes;
    try {
      localStorage.setItem(this.#key, JSON.stringify(changes));
      return true;
    } catch {
      return false;
    }
  }

  #forget() {
    this.#own = null;
    forget(this.#key);
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
