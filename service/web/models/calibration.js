// A calibration: for each pair of modalities how alike the same and other persons are, and what follows.

import { h, scrollable, svg } from "/web/dom.js";
import { count, oneIn, similarity } from "/web/format.js";

const WIDTH = 560;
const HEIGHT = 220;
const EDGE = { left: 34, right: 12, top: 10, bottom: 30 };

export function calibrationOf(calibration) {
  if (!calibration) return h("p", { class: "quiet" }, "Not calibrated: its similarities have no probabilities, and no rate can be promised.");
  const absent = Object.entries(calibration.absent ?? {});
  return h("details", { class: "calibration" }, h("summary", {}, "Calibration"),
    h("div", { class: "curves" }, Object.entries(calibration.kinds).map(([pair, kind]) => curve(pair, kind, calibration.confidence))),
    absent.map(([pair, why]) => h("p", { class: "quiet" }, `${pair}: not calibrated. ${why}`)));
}

function curve(pair, kind, confidence) {
  return h("section", { class: "stack curve" }, h("h3", {}, pair), chart(pair, kind), legend(),
    h("p", { class: "hint" }, `${count(kind.persons)} persons, ${count(pairs(kind.genuine))} genuine and ${count(pairs(kind.impostor))} impostor pairs`),
    thresholds(pair, kind, confidence));
}

// Both distributions, each with its highest bar at one, and the probability at even odds.
function chart(pair, { genuine, impostor, evidence, thresholds: rates }) {
  const x = (value) => EDGE.left + (WIDTH - EDGE.left - EDGE.right) * (value + 1) / 2;
  const y = (share) => EDGE.top + (HEIGHT - EDGE.top - EDGE.bottom) * (1 - share);
  const name = `Distributions of ${pair}: impostors are most often at ${similarity(mode(impostor))}, genuine pairs at ${similarity(mode(genuine))}`;
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": name },
    [0, 0.5, 1].map((share) => [
      svg("line", { x1: x(-1), x2: x(1), y1: y(share), y2: y(share), class: "rule" }),
      svg("text", { x: EDGE.left - 4, y: y(share) + 4, "text-anchor": "end" }, `${100 * share}`),
    ]),
    [-1, -0.5, 0, 0.5, 1].map((value) => svg("text", { x: x(value), y: HEIGHT - 10, "text-anchor": "middle" }, value)),
    svg("path", { d: area(impostor, x, y), class: "impostor" }),
    svg("path", { d: area(genuine, x, y), class: "genuine" }),
    rates.map(({ similarity: at }) => svg("line", { x1: x(at), x2: x(at), y1: y(1), y2: y(0), class: "rate" })),
    svg("path", { d: line(evidence, x, y), class: "probability" }));
}

function legend() {
  const swatch = (kind) => svg("svg", { viewBox: "0 0 18 10", width: 18, height: 10, "aria-hidden": "true", class: "chart" },
    kind === "probability" || kind === "rate"
      ? svg("line", { x1: 0, x2: 18, y1: 5, y2: 5, class: kind }) : svg("rect", { width: 18, height: 10, class: kind }));
  const keys = [["impostor", "other persons"], ["genuine", "the same person"], ["probability", "probability at even odds, %"], ["rate", "thresholds"]];
  return h("p", { class: "hint legend" }, keys.map(([kind, text]) => h("span", {}, swatch(kind), ` ${text}`)));
}

function thresholds(pair, kind, confidence) {
  const rows = kind.thresholds.map(({ rate, similarity: least, interval, true_accept_rate: share }) => h("tr", {},
    h("th", { scope: "row" }, oneIn(rate)), h("td", { class: "number" }, similarity(least)),
    h("td", { class: "number" }, `${percent(interval[0])} to ${percent(interval[1])}`), h("td", { class: "number" }, percent(share))));
  const refused = kind.unsupported.map((each) => h("tr", {}, h("th", { scope: "row" }, oneIn(each.rate)),
    h("td", { colspan: "3" }, `not promised: needs ${count(each.pairs_needed)} pairs of different persons`)));
  return scrollable(`Thresholds of ${pair}`,
    h("table", { class: "table" },
      h("thead", {}, h("tr", {}, ["False accepts", "Similarity", `Interval (${percent(confidence)})`, "Found"].map((name, at) => h("th", { scope: "col", class: at > 0 ? "number" : "" }, name)))),
      h("tbody", {}, rows, refused)));
}

function percent(share) {
  const value = 100 * share;
  return `${value >= 10 ? value.toFixed(0) : value >= 0.1 ? value.toFixed(2) : value.toFixed(4)} %`;
}

function pairs({ counts }) {
  return counts.reduce((sum, one) => sum + one, 0);
}

function mode({ start, width, counts }) {
  return start + width * (counts.indexOf(Math.max(...counts)) + 0.5);
}

function area({ start, width, counts }, x, y) {
  const highest = Math.max(...counts);
  const points = counts.map((one, at) => `${x(start + width * (at + 0.5)).toFixed(1)} ${y(one / highest).toFixed(1)}`);
  return `M${x(start).toFixed(1)} ${y(0)}L${points.join("L")}L${x(start + width * counts.length).toFixed(1)} ${y(0)}Z`;
}

// `evidence`: [similarity, log of the likelihood ratio], rising; beyond its ends it stays as it is.
function line(evidence, x, y) {
  const every = [[-1, evidence[0][1]], ...evidence, [1, evidence.at(-1)[1]]];
  return `M${every.map(([at, log]) => `${x(at).toFixed(1)} ${y(1 / (1 + Math.exp(-log))).toFixed(1)}`).join("L")}`;
}
