// The matches of a search as a grid of crops, and where "unknown" begins among them.

import { h, notice, replace } from "/web/dom.js";
import { count, oneIn, probability, similarity, time } from "/web/format.js";
import { similarityStrip } from "/web/search/strip.js";

const AT_ONCE = 24;

// Show a search in `element`; `onOpen(match)` when one is chosen, `crops` loads the pictures.
export function showResults(element, found, crops, onOpen) {
  const { answer, beyond } = found;
  const parts = [summary(found)];
  if (answer.matches.length + beyond.length > 1) parts.push(similarityStrip(found));
  const passed = grid("Matches", answer.matches, crops, onOpen);
  parts.push(passed ?? unknown(found));
  if (beyond.length > 0) {
    parts.push(h("h2", { class: "divider" }, h("span", {}, `Unknown begins here: less alike than ${oneIn(Number(found.rate))} demands`)));
    parts.push(grid("Beyond the rate", beyond, crops, onOpen));
  }
  replace(element, parts);
}

function summary({ answer, rate, beyond }) {
  const took = Object.values(answer.timings_ms).reduce((sum, ms) => sum + ms, 0);
  const facts = [
    `${count(answer.matches.length)} ${answer.matches.length === 1 ? "match" : "matches"}`,
    `of ${count(answer.gallery_size)} entries`,
    `in ${took.toFixed(0)} ms`,
  ];
  const promise = rate !== "" && h("p", {},
    `At ${oneIn(Number(rate))}: ${thresholdsText(answer.thresholds)}. ${count(answer.compared)} compared, `
    + `at most ${strangers(answer.expected_false_accepts)} of other persons to be expected among all that pass.`,
    beyond.length > 0 && ` ${count(beyond.length)} more are shown beyond.`);
  return h("div", { class: "summary" },
    h("p", { role: "status" }, facts.join(" ")),
    promise,
    h("p", { class: "hint" }, "Model ", h("code", {}, answer.model_id), ", query ", h("code", {}, answer.query_id),
      ". A match says that two crops look alike, not who somebody is: look yourself."));
}

export function thresholdsText(thresholds) {
  const each = Object.entries(thresholds ?? {}).map(([pair, least]) => `${similarity(least)} (${pair})`);
  return each.length === 0 ? "no threshold" : `similarity of at least ${each.join(" or ")}`;
}

function strangers(expected) {
  return expected < 0.01 ? "0.01" : expected < 10 ? expected.toFixed(2) : count(Math.round(expected));
}

function unknown({ answer, rate }) {
  if (answer.gallery_size === 0) {
    return notice("warn", "The gallery is empty", "Nobody is enrolled yet, so nobody can be found. Enrol crops in the view Gallery.");
  }
  return rate === ""
    ? notice("warn", "No entry takes part", "The filters leave nothing to compare with.")
    : notice("warn", "Unknown", `Nobody in the gallery is as alike as ${oneIn(Number(rate))} demands.`);
}

// A list of matches that grows a few cards a frame, so that a thousand of them never block the page.
function grid(label, matches, crops, onOpen) {
  if (matches.length === 0) return null;
  const list = h("ol", { class: "results", "aria-label": label });
  let next = 0;
  const grow = () => {
    list.append(...matches.slice(next, next + AT_ONCE).map((match) => card(match, crops, onOpen)));
    next += AT_ONCE;
    if (next < matches.length) requestAnimationFrame(grow);
  };
  grow();
  return list;
}

function card(match, crops, onOpen) {
  const who = match.person_id === null ? "no person" : match.person_id;
  return h("li", { class: match.beyond ? "tile beyond" : "tile" },
    h("button", {
      type: "button", "aria-haspopup": "dialog", on: { click: () => onOpen(match) },
    },
    h("span", { class: "visually-hidden" }, match.beyond ? "Beyond the rate: " : "Match "),
    crops.element(match.crop_url, ""),
    h("span", { class: "score" },
      h("span", { class: "rank" }, match.beyond ? "–" : match.rank),
      h("strong", { title: "similarity" }, similarity(match.similarity)),
      h("span", { title: "probability" }, probability(match.probability))),
    h("span", { class: "person" }, who),
    h("span", { class: "quiet" }, match.camera_id ?? "no camera"),
    h("span", { class: "quiet" }, time(match.captured_at)),
    h("span", {}, h("span", { class: `badge ${match.modality}` }, match.modality))));
}
