// The job that runs, as it goes; and those that have ended.

import { button, errorText, h, notice, replace, scrollable } from "/web/dom.js";
import { count, duration, time } from "/web/format.js";
import { gateFigures, overridden } from "/web/models/activation.js";

const POLL_MS = 1_000;
const PHASES = {
  evaluating: "Measuring it against the active model", embedding: "Embedding every crop anew", indexing: "Building the index",
  calibrating: "Calibrating", switching: "Switching over",
};

// Follows one job by its events. `onEnd()` is called when it has ended.
export class JobPanel {
  #app;
  #onEnd;
  #following = null;
  #stop = null;
  #say = h("p", { role: "status" });
  #parts = {};
  element = h("div");

  constructor(app, onEnd) {
    this.#app = app;
    this.#onEnd = onEnd;
  }

  // Show a job from now on, until it ends.
  async follow(job) {
    if (this.#following === job.job_id) return;
    this.leave();
    this.#following = job.job_id;
    const stop = this.#stop = new AbortController();
    this.#make(job);
    const ended = await this.#watched(job, stop.signal);
    if (stop.signal.aborted) return;
    this.leave();
    replace(this.element, outcome(ended), refusedByGate(ended) && this.#override(ended));
    this.#onEnd();
  }

  leave() {
    this.#stop?.abort();
    this.#stop = null;
    this.#following = null;
  }

  // Follow to the end, over lost connections and restarts of the service.
  async #watched(job, signal) {
    const path = `/jobs/${encodeURIComponent(job.job_id)}`;
    let last = job;
    while (last.status === "running" && !signal.aborted) {
      try {
        await this.#app.api.events(`${path}/events`, (_, state) => {
          last = state;
          this.#show(state);
        }, signal);
        if (signal.aborted) break;
        if (last.status === "running") last = await this.#app.api.get(path);
        this.#show(last);
      } catch (error) {
        if (signal.aborted) break;
        if (error.status === 404) return { ...last, status: "failed", problem: { detail: error.detail } };
        replace(this.#parts.detail, `Waiting for the service: ${errorText(error)}`);
      }
      if (last.status === "running") await new Promise((done) => setTimeout(done, POLL_MS));
    }
    return last;
  }

  #make(job) {
    const bar = h("progress", { max: "1", value: 0, "aria-label": "Progress of the job" });
    const detail = h("p", { class: "hint" });
    this.#parts = { bar, detail };
    replace(this.element, h("section", { class: "card stack", "aria-label": "Running job" },
      h("h2", {}, job.kind === "refresh" ? "A model is being activated" : "The model is being calibrated"),
      this.#say, bar, detail,
      this.#app.session.may("DELETE /jobs/{job_id}") && h("p", {}, button("Cancel the job", () => this.#cancel(job), { kind: "danger" }))));
    this.#show(job);
  }

  #show(job) {
    const phase = PHASES[job.phase] ?? "Beginning";
    const said = `${phase}: ${count(job.done)} of ${count(job.total)} entries`;
    if (this.#say.textContent !== said) replace(this.#say, said);
    this.#parts.bar.max = Math.max(1, job.total);
    this.#parts.bar.value = job.done;
    const rate = job.crops_per_s ? `${job.crops_per_s.toFixed(0)} crops a second, ${duration(job.seconds_left)} left. ` : "";
    replace(this.#parts.detail, rate, job.waiting_for ? `Waiting: ${job.waiting_for}` : `Model ${job.model_id.slice(0, 16)}, asked for by ${job.asked_by}.`);
  }

  // A model that is worse than the active one, activated by name all the same.
  #override(job) {
    return h("div", { class: "card" }, gateFigures(job.evaluation),
      this.#app.session.may("POST /models/{model_id}/activate")
        && button("Activate it all the same", () => overridden(this.#app, job.model_id, (begun) => this.follow(begun)), { kind: "danger" }));
  }

  async #cancel(job) {
    try {
      await this.#app.api.remove(`/jobs/${encodeURIComponent(job.job_id)}`);
    } catch (error) {
      this.#app.announce(`Not cancelled: ${errorText(error)}`, "error");
    }
  }
}

function refusedByGate(job) {
  return job.problem?.code === "evaluation_gate" && Boolean(job.evaluation);
}

function outcome(job) {
  const what = job.kind === "refresh" ? `The activation of model ${job.model_id.slice(0, 16)}` : "The calibration";
  if (job.status === "done") return notice("good", `${what} is done`, `${count(job.total)} entries, ${count(job.left_out)} left out, ${count(job.erased)} erased.`);
  if (job.status === "cancelled") return notice("warn", `${what} was cancelled`, "The model before goes on answering.");
  return notice("error", `${what} failed`, job.problem?.detail ?? "No reason came.");
}

export function jobTable(jobs) {
  if (jobs.length === 0) return null;
  const rows = jobs.map((job) => h("tr", {},
    h("td", {}, time(job.started_at)), h("td", {}, job.kind), h("td", {}, h("code", {}, job.model_id.slice(0, 12))),
    h("td", {}, job.status === "failed" ? `failed: ${job.problem?.detail ?? "no reason"}` : job.status),
    h("td", { class: "number" }, `${count(job.done)} of ${count(job.total)}`), h("td", {}, job.asked_by),
    h("td", {}, job.override.join(", "))));
  const names = ["Began", "What", "Model", "How it ended", "Entries", "Asked for by", "Overridden"];
  return h("section", { class: "card" }, h("h2", {}, "Jobs"),
    scrollable("Jobs", h("table", { class: "table" },
      h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows))));
}
