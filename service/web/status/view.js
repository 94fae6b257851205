// Status: does every part work, how much is asked of it, and do the scores still mean what they say.

import { errorNotice, factList, h, notice, replace, scrollable } from "/web/dom.js";
import { bytes, count, duration, time } from "/web/format.js";
import { Metrics, quantile, rate } from "/web/status/metrics_text.js";
import { Sparkline } from "/web/status/sparkline.js";

export const title = "Status";
export const needs = ["GET /readyz", "GET /metrics"];

const EVERY_MS = 5_000;
const DRIFTED = 0.1; // as the alert MpanetScoreDrift has it
const QUERY = ({ route }) => route === "/query";

export function create(app) {
  return new StatusView(app);
}

class StatusView {
  #app;
  #timer = null;
  #before = null;
  #ready = h("section", { class: "card stack", "aria-label": "Parts" });
  #figures = h("div", { class: "figures" });
  #drift = h("section", { class: "card stack", "aria-label": "Drift" });
  #read = h("p", { class: "hint" });
  #lines = { queries: new Sparkline("queries a second"), wait: new Sparkline("crops that wait") };

  constructor(app) {
    this.#app = app;
    replace(this.#ready, notice("", "Loading ..."));
    this.element = h("section", { class: "stack" }, h("h1", {}, title), this.#ready, this.#figures, this.#drift, this.#read);
  }

  shown() {
    clearInterval(this.#timer);
    this.#timer = setInterval(() => document.hidden || this.#load(), EVERY_MS);
    this.#load();
  }

  hidden() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.#before = null;
  }

  async #load() {
    const [ready, text] = await Promise.allSettled([this.#app.api.get("/readyz"), this.#app.api.text("/metrics")]);
    this.#showReady(ready);
    if (text.status === "fulfilled") {
      const now = new Metrics(text.value);
      this.#showFigures(now);
      this.#showDrift(now);
      this.#before = now;
      replace(this.#read, `Read ${new Date().toLocaleTimeString()}, again every ${EVERY_MS / 1000} seconds.`);
    }
  }

  #showReady({ status, value, reason }) {
    if (status === "rejected") {
      const why = reason.problem?.reasons ?? [];
      replace(this.#ready, errorNotice(reason), why.length > 0 && h("ul", {}, why.map((one) => h("li", {}, one))));
      return;
    }
    const { model, store, index, checks } = value;
    const rows = [
      ["Model", h("code", {}, model.model_id)], ["Runs on", `${model.provider}, ${model.precision}`],
      ["Gallery", `${count(index.entries)} entries of ${count(index.persons)} persons`],
      ["Index", `${index.kind}, ${recall(index)}`],
      ["What is acknowledged survives", value.durability === "power-loss" ? "power loss" : value.durability],
      ["Records", store.kind],
    ];
    replace(this.#ready, h("h2", {}, "Every part works ", h("span", { class: "badge good" }, "ready")),
      factList(rows),
      h("details", {}, h("summary", {}, `${checks.length} checks`),
        h("ul", {}, checks.map((check) => h("li", {}, `${check.name}: ${check.ok ? "works" : "does not work"}${check.detail ? `, ${check.detail}` : ""}`)))));
  }

  #showFigures(now) {
    const before = this.#before;
    const queries = rate(before, now, "mpanet_queries_total");
    const waiting = now.sum("mpanet_queue_crops");
    if (queries !== null) this.#lines.queries.add(queries);
    this.#lines.wait.add(waiting ?? 0);
    const errors = rate(before, now, "mpanet_request_seconds_count", ({ status }) => Number(status) >= 500);
    const millis = (share) => {
      const seconds = quantile(before, now, "mpanet_request_seconds", share, QUERY);
      return seconds === null ? "–" : `${(1000 * seconds).toFixed(0)} ms`;
    };
    const busy = rate(before, now, "mpanet_encoder_busy_seconds_total");
    replace(this.#figures,
      figure("Queries a second", number(queries), this.#lines.queries.element),
      figure("Crops that wait", count(waiting), this.#lines.wait.element),
      figure("Query, median / 99 of 100", `${millis(0.5)} / ${millis(0.99)}`),
      figure("Enrolled a second", number(rate(before, now, "mpanet_enrolments_total", ({ outcome }) => outcome === "stored"))),
      figure("Encoder busy", busy === null ? "–" : `${Math.min(100, 100 * busy).toFixed(0)} %`),
      figure("Server errors a second", number(errors)),
      figure("Memory", bytes(now.sum("process_resident_memory_bytes"))),
      figure("Free on the disk", bytes(now.sum("mpanet_data_free_bytes"))),
      figure("Audit log", { 1: "works", 0: "cannot be written" }[now.sum("mpanet_audit_ready")] ?? "is not kept"),
      figure("Up for", upFor(now)));
  }

  #showDrift(now) {
    const drifts = now.all("mpanet_score_drift");
    const by = (name, pair) => now.all(name).find(({ labels }) => labels.pair === pair)?.value ?? null;
    const rows = drifts.map(({ labels: { pair }, value }) => h("tr", {}, h("th", { scope: "row" }, pair),
      h("td", {}, value > DRIFTED ? h("span", { class: "badge danger" }, "drifted") : h("span", { class: "badge good" }, "as calibrated")),
      h("td", { class: "number" }, value.toFixed(3)), h("td", { class: "number" }, by("mpanet_score_shift", pair)?.toFixed(3) ?? "–"),
      h("td", { class: "number" }, count(by("mpanet_score_window", pair)))));
    const outcomes = Object.fromEntries(now.all("mpanet_judged_queries_total").map(({ labels, value }) => [labels.outcome, value]));
    replace(this.#drift, h("h2", {}, "Do the scores still mean what they say?"),
      rows.length === 0 ? h("p", {}, "Not known yet: it takes 1,024 comparisons of queries with a calibrated model.")
        : scrollable("Drift of the scores", h("table", { class: "table" },
          h("caption", {}, `Similarities of queries to random entries, against those of other persons in the calibration. Above ${DRIFTED}, or with a positive shift, rates promise too much: calibrate anew.`),
          h("thead", {}, h("tr", {}, ["Pair", "", "Drift", "Shift", "Compared"].map((name, at) => h("th", { scope: "col", class: at > 1 ? "number" : "" }, name)))),
          h("tbody", {}, rows))),
      h("p", { class: "quiet" }, `Queries since the start, at a rate of 1 in 1,000: ${count(outcomes.known ?? 0)} known, ${count(outcomes.unknown ?? 0)} unknown.`));
  }
}

function recall({ recall_at_10: measured, recall_target: target }) {
  return measured === null ? "recall not measured yet" : `${(100 * measured).toFixed(1)} % of the ten nearest found, target ${(100 * target).toFixed(1)} %`;
}

function figure(name, value, extra = null) {
  return h("div", { class: "card figure" }, h("p", { class: "quiet" }, name), h("p", { class: "value" }, value), extra);
}

function number(value) {
  return value === null ? "–" : value >= 10 ? value.toFixed(0) : value.toFixed(1);
}

function upFor(now) {
  const began = now.sum("process_start_time_seconds");
  return began === null ? "–" : h("span", { title: time(1000 * began) }, duration(Date.now() / 1000 - began));
}
