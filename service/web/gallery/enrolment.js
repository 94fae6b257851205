// Sending many files: in batches that may be sent again, and nothing is forgotten when a batch fails.

import { pause } from "/web/api.js";
import { errorText } from "/web/dom.js";
import { bytes } from "/web/format.js";

const BATCH_FILES = 16;
const BATCH_BYTES = 16 * 1024 * 1024;
const MAX_BYTES = 10 * 1024 * 1024;
const MAX_TRIES = 5;

// Why a file need not be sent, or null.
export function refusalOf(file) {
  if (file.size === 0) return "the file is empty";
  if (file.size > MAX_BYTES) return `${bytes(file.size)}, expected at most ${bytes(MAX_BYTES)}`;
  if (file.type !== "" && !file.type.startsWith("image/")) return `expected an image, came ${file.type}`;
  return null;
}

// One enrolment. `items`: [{ file, fields }]; `early`: [{ name, why }] refused before.
export class Enrolment {
  #api;
  #batches;
  #next = 0;
  #stop = null;
  #began = 0;
  #doneBefore = 0;

  constructor(api, items, early) {
    this.#api = api;
    this.#batches = batchesOf(items);
    this.total = items.length + early.length;
    this.done = early.length;
    this.enrolled = 0;
    this.replayed = 0;
    this.refused = [...early];
    this.stopped = "";
    this.running = false;
  }

  get perSecond() {
    return (this.done - this.#doneBefore) / Math.max(0.001, (performance.now() - this.#began) / 1000);
  }

  get secondsLeft() {
    return (this.total - this.done) / this.perSecond;
  }

  stop() {
    this.#stop?.abort();
  }

  // Send what is left; `onProgress()` after each batch. What could not be sent stays, for another run.
  async run(onProgress) {
    this.#stop = new AbortController();
    this.stopped = "";
    this.running = true;
    this.#began = performance.now();
    this.#doneBefore = this.done;
    onProgress();
    try {
      for (; this.#next < this.#batches.length; this.#next += 1) {
        await this.#send(this.#batches[this.#next]);
        onProgress();
      }
    } catch (error) {
      this.stopped = this.#stop.signal.aborted ? "You stopped it." : errorText(error);
    } finally {
      this.running = false;
    }
  }

  async #send(batch) {
    for (let tries = 1; ; tries += 1) {
      try {
        this.#take(batch, await this.#sent(batch));
        return;
      } catch (error) {
        if (isOfTheFiles(error)) {
          this.#refuse(batch, error);
          return;
        }
        const mayPass = error.status === 0 || error.status === 429 || error.status === 503;
        if (!mayPass || tries === MAX_TRIES || this.#stop.signal.aborted) throw error;
        await pause(1000 * 2 ** (tries - 1), this.#stop.signal);
      }
    }
  }

  #sent({ items, key }) {
    const form = new FormData();
    for (const { file } of items) form.append("files", file, file.name);
    form.append("entries", JSON.stringify(items.map(({ fields }) => fields)));
    return this.#api.form("POST", "/gallery/batch", form, { signal: this.#stop.signal, idempotencyKey: key });
  }

  #take({ items }, { results }) {
    results.forEach((result, at) => {
      if (result.replayed) this.replayed += 1;
      else if (result.status === 201) this.enrolled += 1;
      else this.refused.push({ name: items[at].file.name, why: result.problem.detail ?? result.problem.title });
    });
    this.done += items.length;
  }

  #refuse({ items }, error) {
    for (const { file } of items) this.refused.push({ name: file.name, why: errorText(error) });
    this.done += items.length;
  }
}

// Whether a batch will never be taken as it is.
function isOfTheFiles(error) {
  return [400, 409, 413, 415, 422].includes(error.status);
}

function batchesOf(items) {
  const batches = [];
  let open = null;
  for (const item of items) {
    if (open === null || open.items.length === BATCH_FILES || open.bytes + item.file.size > BATCH_BYTES) {
      open = { items: [], bytes: 0, key: freshKey() };
      batches.push(open);
    }
    open.items.push(item);
    open.bytes += item.file.size;
  }
  return batches;
}

// Random, also where the page came over plain HTTP and crypto.randomUUID is not there.
function freshKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return `page-${[...random].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
