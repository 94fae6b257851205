// One model: its state, its figures, its calibration.

import { factList, h, scrollable } from "/web/dom.js";
import { time } from "/web/format.js";
import { calibrationOf } from "/web/models/calibration.js";

const STATES = {
  active: ["active", "good"], kept: ["kept to go back to", "warn"], refreshing: ["being prepared", "warn"], available: ["available", ""],
};

export function modelCard(model, actions) {
  const [state, kind] = STATES[model.state] ?? [model.state, ""];
  return h("article", { class: "card stack model", "aria-label": `Model ${model.model_id}` },
    h("div", { class: "toolbar" },
      h("h2", {}, h("code", {}, model.model_id.slice(0, 16)), " ", h("span", { class: `badge ${kind}` }, state)),
      h("div", { class: "actions" }, actions)),
    h("div", { class: "model-parts" }, facts(model), figures(model.metrics)),
    calibrationOf(model.calibration),
    h("details", {}, h("summary", {}, "Configuration"), h("pre", { class: "mono scroll", tabindex: "0" }, JSON.stringify(model.config, null, 2))));
}

function facts(model) {
  const source = Object.entries(model.source ?? {}).filter(([, value]) => value).map(([name, value]) => `${name} ${value}`);
  const rows = [
    ["Id", h("code", {}, model.model_id)], ["Embedding", `${model.embedding_dim} numbers`],
    ["Runs on", model.provider ? `${model.provider}, ${model.precision}` : "not open"],
    ["Made", time(model.created_at)], ["Source", source.join(", ") || "–"],
    ["Published", model.published_at ? `${time(model.published_at)} by ${model.published_by ?? "hand"}` : "–"],
  ];
  return factList(rows);
}

// What it reached in evaluations, in percent, by protocol.
function figures(metrics) {
  const protocols = Object.entries(metrics ?? {});
  if (protocols.length === 0) return h("p", { class: "quiet" }, "No figures came with this model.");
  const names = [...new Set(protocols.flatMap(([, values]) => Object.keys(values)))];
  return scrollable("Figures",
    h("table", { class: "table" },
      h("caption", {}, "Figures of its evaluations, in percent"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Protocol"), names.map((name) => h("th", { scope: "col", class: "number" }, name)))),
      h("tbody", {}, protocols.map(([protocol, values]) => h("tr", {}, h("th", { scope: "row" }, protocol),
        names.map((name) => h("td", { class: "number" }, typeof values[name] === "number" ? values[name].toFixed(2) : "–")))))));
}
