// A search as a report to print: who searched for what, when, by which model, and what came.

import { factList, h, replace } from "/web/dom.js";
import { count, oneIn, probability, similarity, time } from "/web/format.js";
import { thresholdsText } from "/web/search/results.js";

const MAX_CROPS = 100;

// Print a search; resolves when the print dialog is open. Pictures of the first matches are loaded.
export async function printReport({ app, found, address }) {
  const sheet = h("section", { class: "report" });
  const pictures = await Promise.all(found.answer.matches.slice(0, MAX_CROPS).map((match) => pictureOf(app.api, match)));
  replace(sheet,
    h("h1", {}, "Search for a person"),
    facts(app.session, found),
    h("h2", {}, found.files.length === 1 ? "Query crop" : "Query crops"),
    h("div", { class: "report-crops" }, found.files.map((file) => h("img", { src: address(file), alt: file.name || "pasted crop" }))),
    h("h2", {}, found.answer.matches.length === 0 ? "Matches: none, the person is unknown" : "Matches"),
    found.answer.matches.length > 0 && table(found.answer.matches, pictures),
    h("p", {}, "A match says that two crops look alike under the model named above. It is no proof of identity."));
  document.body.append(sheet);
  document.body.classList.add("reporting");
  await Promise.all([...sheet.querySelectorAll("img")].map((image) => image.decode().catch(() => image.remove())));
  window.addEventListener("afterprint", () => {
    document.body.classList.remove("reporting");
    sheet.remove();
    for (const picture of pictures) if (picture) URL.revokeObjectURL(picture);
  }, { once: true });
  window.print();
}

async function pictureOf(api, match) {
  if (!match.crop_url) return null;
  try {
    return URL.createObjectURL(await api.blob(match.crop_url));
  } catch {
    return null; // the row says what there is
  }
}

function facts(session, { answer, fields, rate, at }) {
  const filters = Object.entries(fields)
    .filter(([name, value]) => !["modality", "top_k"].includes(name) && value !== null && value.length > 0 && value !== "false")
    .map(([name, value]) => `${name} ${[value].flat().join(", ")}`);
  const rows = [
    ["Searched by", session.keys ? `${session.name} (${session.roles.join(", ")})` : "a service without keys"],
    ["Searched at", `${time(at)} (${at})`],
    ["Query", answer.query_id],
    ["Modality of the crops", fields.modality],
    ["Filters and options", filters.join("; ")],
    ["Model", answer.model_id],
    ["Gallery", `${count(answer.gallery_size)} entries${answer.compared === null ? "" : `, ${count(answer.compared)} compared`}`],
    ["False accepts allowed", rate === "" ? "any: the nearest entries, however unlike" : `${oneIn(Number(rate))} (${rate})`],
    ["Thresholds", answer.thresholds === null ? "none" : thresholdsText(answer.thresholds)],
  ];
  return factList(rows);
}

function table(matches, pictures) {
  const names = ["Rank", "Crop", "Person", "Camera", "Taken", "Modality", "Similarity", "Probability", "Entry"];
  return h("table", { class: "table" },
    h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, matches.map((match, at) => h("tr", {},
      h("td", {}, match.rank),
      h("td", {}, pictures[at] ? h("img", { src: pictures[at], alt: `Crop of ${match.entry_id}` }) : "–"),
      h("td", {}, match.person_id ?? "–"), h("td", {}, match.camera_id ?? "–"), h("td", {}, time(match.captured_at)),
      h("td", {}, match.modality), h("td", {}, similarity(match.similarity)), h("td", {}, probability(match.probability)),
      h("td", {}, match.entry_id)))));
}
