// All similarities of a search on one line, with the thresholds that they were held against.

import { h, svg } from "/web/dom.js";
import { pairOf, similarity } from "/web/format.js";

const WIDTH = 1000;
const HEIGHT = 64;
const LINE = 40;
const MARKS = { "infrared-visible": "M-6 6L0 -6L6 6Z", "visible-visible": "M-5 -5H5V5H-5Z", "infrared-infrared": "M0 -6L6 0L0 6L-6 0Z" };

export function similarityStrip({ answer, beyond, fields }) {
  const every = [...answer.matches, ...beyond];
  const thresholds = Object.entries(answer.thresholds ?? {});
  const values = [...every.map((match) => match.similarity), ...thresholds.map(([, least]) => least)];
  const low = Math.floor(10 * Math.min(...values)) / 10;
  const high = Math.max(low + 0.1, Math.ceil(10 * Math.max(...values)) / 10);
  const x = (value) => 20 + ((WIDTH - 40) * (value - low)) / (high - low);
  const pairs = [...new Set(every.map((match) => pairOf(fields.modality, match.modality)))];
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "strip", role: "img", "aria-label": description(every, thresholds) },
    svg("line", { x1: x(low), x2: x(high), y1: LINE, y2: LINE, class: "axis" }),
    ticks(low, high).map((value) => svg("text", { x: x(value), y: HEIGHT - 4, "text-anchor": "middle" }, value.toFixed(1))),
    every.map((match) => mark(match, x(match.similarity), pairOf(fields.modality, match.modality))),
    thresholds.map(([pair, least]) => threshold(x(least), pair)));
  return h("figure", { class: "strip-around" }, drawing,
    h("figcaption", { class: "hint" }, "Similarity of each match: ", pairs.map((pair) => h("span", { class: "key-of" }, keyOf(pair), pair)),
      thresholds.length > 0 && " Left of the dashed line the person is unknown."));
}

function mark(match, x, pair) {
  return svg("path", { d: MARKS[pair], transform: `translate(${x.toFixed(1)} ${LINE})`, class: `mark ${pair}${match.beyond ? " beyond" : ""}` });
}

function threshold(x, pair) {
  return [
    svg("line", { x1: x, x2: x, y1: 14, y2: LINE + 10, class: `threshold ${pair}` }),
    svg("path", { d: MARKS[pair], transform: `translate(${x.toFixed(1)} 8) scale(0.8)`, class: `mark ${pair}` }),
  ];
}

function keyOf(pair) {
  return svg("svg", { viewBox: "-8 -8 16 16", width: 14, height: 14, "aria-hidden": "true" }, svg("path", { d: MARKS[pair], class: `mark ${pair}` }));
}

function ticks(low, high) {
  const step = high - low > 0.8 ? 0.2 : 0.1;
  return Array.from({ length: Math.floor((high - low) / step + 1e-6) + 1 }, (_, at) => low + at * step);
}

function description(every, thresholds) {
  const values = every.map((match) => match.similarity);
  const limits = thresholds.map(([pair, least]) => `; the threshold of ${pair} is ${similarity(least)}`);
  return `${values.length} similarities from ${similarity(Math.min(...values))} to ${similarity(Math.max(...values))}${limits.join("")}`;
}
