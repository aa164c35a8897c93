// Saves by itself. What the server has not confirmed stays in this browser, and is sent again until it is.

import { annotationOf } from "./server.js";

const QUIET_MS = 300; // after the last change
const RETRY_MS = [500, 1000, 2000, 4000];
const AGAIN = new Set([408, 429]); // refusals for now: too slow, too many
const MOST_SENT = 50;
const PREFIX = "nearpose-unsaved/";

/** The same but for the last digits: numbers went through the server's arithmetic. */
export function alike(a, b) {
  if (typeof a === "number" && typeof b === "number") return Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(a));
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return a === b;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => name in b && alike(a[name], b[name]));
}

/** Whether this browser holds changes of a capture that are not confirmed. */
export const isKept = (name) => stored(name) !== null;

/** What this browser keeps of a capture; null where that is nothing, or it may keep nothing. */
function stored(name) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name));
  } catch {
    return null;
  }
}

/** Of one capture. Dispatches `state`: saved, waiting, saving, offline, refused or conflict. */
export class Saving extends EventTarget {
  state = "saved";
  problem = null;
  theirs = null; // { revision, annotation } that someone else saved
  #own = null; // what this page has stored, or would have if the browser had let it
  #tab = crypto.getRandomValues(new Uint32Array(2)).join("-");
  #revision = null;
  #wanted = null; // the annotation that is not confirmed yet
  #sent = []; // those that were sent, and may have been saved without our hearing of it
  #sending = null; // a promise: what changes meanwhile is sent after it
  #timer = 0;
  #failures = 0;
  #tookOver = null; // the tab whose changes were found here

  /** `send(revision, annotation)` resolves to { revision }, or rejects with a Problem. */
  constructor(name, send) {
    super();
    Object.assign(this, { name, send });
    addEventListener("online", () => this.state === "offline" && this.#later(0));
    document.addEventListener("visibilitychange", () => document.hidden && this.flush());
  }

  /** Begins with what the server has; returns the annotation to go on with. */
  open(revision, annotation) {
    const kept = this.#own || stored(this.name);
    this.#tookOver = kept?.tab;
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

  /** What was changed since: kept here at once, sent soon. */
  keep(annotation) {
    this.#wanted = annotation;
    this.#store();
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
    this.#store();
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

  #store() {
    this.#own = { revision: this.#revision, annotation: this.#wanted, sent: this.#sent, tab: this.#tab };
    try {
      localStorage.setItem(PREFIX + this.name, JSON.stringify(this.#own));
    } catch {
      // The browser's storage is full or forbidden: the server is still sent all of it.
    }
  }

  /** Not what another tab keeps there, unless this one has taken it over. */
  #forget() {
    this.#own = null;
    const kept = stored(this.name);
    if (kept && (kept.tab === this.#tab || this.#tookOver === kept.tab)) localStorage.removeItem(PREFIX + this.name);
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
