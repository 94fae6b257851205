// A query beside one of its matches: both crops, what each pattern adds, and where it looks.

import { button, choice, errorNotice, factList, h, notice, replace, scrollable } from "/web/dom.js";
import { openDialog } from "/web/dialog.js";
import { probability, similarity, time } from "/web/format.js";

// Open query and match side by side. `address(file)` is an address of a query's crop.
export function openComparison({ app, found, match, address }) {
  const pictures = h("div", { class: "stack tight" });
  const body = h("div", { class: "stack" },
    h("div", { class: "side-by-side" },
      figure("Query", found.files.map((file) => h("img", { src: address(file), alt: file.name || "pasted crop" })), `taken in ${lightOf(found.fields.modality)}`),
      figure("Match", [app.crops.element(match.crop_url, `Crop of ${match.entry_id}`)], `taken in ${lightOf(match.modality)}`),
      facts(app, match)),
    pictures, shares(match));
  const title = match.beyond ? "Beyond the rate: unknown" : `Match ${match.rank} of ${found.answer.matches.length}`;
  openDialog({ title, body, wide: true });
  showPatterns(app, found, match, pictures);
}

function lightOf(modality) {
  return modality === "infrared" ? "infrared" : "visible light";
}

function figure(title, pictures, caption) {
  return h("figure", { class: "side" }, h("div", { class: "pictures" }, pictures), h("figcaption", {}, h("strong", {}, title), ` ${caption}`));
}

function facts(app, match) {
  const link = (text, query) => (app.session.may("GET /gallery") ? h("a", { href: `#/gallery?${new URLSearchParams(query)}` }, text) : text);
  const rows = [
    ["Similarity", similarity(match.similarity)],
    ["Probability", match.probability === null ? "not calibrated" : probability(match.probability)],
    ["Person", match.person_id === null ? "none" : link(match.person_id, { person_id: match.person_id })],
    ["Camera", match.camera_id ?? "none"],
    ["Taken", time(match.captured_at)],
    ["Entry", h("code", {}, match.entry_id)],
  ];
  return factList(rows);
}

// What each pattern and the whole crop add to the similarity; together they are its sum.
function shares(match) {
  if (!match.patterns) {
    return notice("", "No shares of patterns", "The model mixes its patterns, or the entry's vector cannot be read.");
  }
  const largest = Math.max(...match.patterns.map((part) => Math.abs(part.similarity)), 1e-9);
  const rows = match.patterns.map(({ pattern, similarity: part }) => h("tr", {},
    h("th", { scope: "row" }, nameOf(pattern)),
    h("td", { class: "number" }, similarity(part)),
    h("td", { class: "number" }, share(part, match.similarity)),
    h("td", { class: "bar-cell" }, h("span", { class: part < 0 ? "share negative" : "share", style: { width: `${(100 * Math.abs(part)) / largest}%` } }))));
  return scrollable("Shares of the patterns",
    h("table", { class: "table shares" },
      h("caption", {}, `What adds up to the similarity of ${similarity(match.similarity)}`),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Part"), h("th", { scope: "col", class: "number" }, "Adds"),
        h("th", { scope: "col", class: "number" }, "Share"), h("td", {}))),
      h("tbody", {}, rows)));
}

function share(part, whole) {
  return whole > 0.001 ? `${((100 * part) / whole).toFixed(0)} %` : "–";
}

function nameOf(pattern) {
  return pattern === "global" ? "Whole crop" : pattern.replace("pattern_", "Pattern ");
}

// The picture that the service draws: every pattern's map over both crops.
function showPatterns(app, found, match, element) {
  const several = found.files.length > 1;
  const crop = choice("Crop of the query", "crop", found.files.map((_, at) => [String(at + 1), String(at + 1)]), "1", (number) => load(number));
  const picture = h("div");
  replace(element, several && crop.element, picture);
  if (!match.patterns_url) {
    replace(picture, notice("", "No pattern maps", "The crop of this entry is not kept."));
    return;
  }
  async function load(number) {
    replace(picture, notice("", "Drawing the pattern maps ..."));
    try {
      const blob = await app.api.blob(`${match.patterns_url}&crop=${number}`);
      const address = URL.createObjectURL(blob);
      const image = h("img", { src: address, class: "patterns", alt: "Both crops, plain and under the map of each pattern; the shares are in the table below" });
      image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
      replace(picture, scrollable("Pattern maps", image));
    } catch (error) {
      replace(picture, error.code === "query_not_found"
        ? notice("warn", "The pattern maps are gone", "They are kept for a few minutes only: search again to see them.")
        : errorNotice(error, button("Try again", () => load(number))));
    }
  }
  load("1");
}
