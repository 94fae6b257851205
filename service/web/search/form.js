// What is searched: the crops, their modality, filters, and how sure an answer must be.

import { button, choice, field, h, replace, textInput, timeInput } from "/web/dom.js";
import { fromLocal, LIGHTS, namesOf, oneIn, pairOf } from "/web/format.js";
import { QueryCrops } from "/web/search/query_crops.js";

const GROUPS = [["entry", "Every crop"], ["person", "Best crop of each person"]];
const RATES = [0.1, 0.01, 0.001, 0.0001];
const MAX_RESULTS = 1000;

// `onSearch()` is called when a search is asked for; `onRate()` when another rate is chosen.
export class SearchForm {
  #calibration = null;

  constructor(onSearch, onRate) {
    this.crops = new QueryCrops(() => this.#refresh());
    this.modality = choice("The crops were taken in", "modality", LIGHTS, null, () => {
      this.#offerRates();
      this.#refresh();
    });
    this.target = choice("Search among", "target", [["any", "Any"], ...LIGHTS], "any", () => this.#offerRates());
    this.group = choice("Show", "group", GROUPS, "entry");
    this.rate = choice("False accepts allowed", "rate", [["", "Any"], ...RATES.map((rate) => [String(rate), oneIn(rate)])], "", onRate);
    this.#makeInputs();
    this.missing = h("p", { class: "hint", role: "status" });
    this.submit = h("button", { type: "submit", class: "button primary wide" }, "Search");
    this.rateHint = h("p", { class: "hint" });
    this.element = this.#makeForm(onSearch);
    this.#offerRates();
    this.#refresh();
  }

  // The calibration of the active model: which rates can be promised.
  set calibration(calibration) {
    this.#calibration = calibration;
    this.#offerRates();
  }

  setModality(modality) {
    this.modality.value = modality;
    this.#offerRates();
    this.#refresh();
  }

  // What is missing to search, or null.
  get lacks() {
    if (this.crops.files.length === 0) return "Choose at least one crop.";
    if (this.modality.value === null) return "Say in which light the crops were taken: it is never guessed.";
    return this.element.checkValidity() ? null : "Correct the marked fields.";
  }

  // The fields of a query, as the API names them; without the rate.
  get fields() {
    return {
      modality: this.modality.value,
      target_modality: this.target.value,
      top_k: this.results.value || "20",
      group_by: this.group.value,
      rerank: String(this.rerank.checked),
      person_id: namesOf(this.persons.value),
      camera_id: namesOf(this.cameras.value),
      exclude_camera_id: namesOf(this.notCameras.value),
      captured_after: fromLocal(this.after.value),
      captured_before: fromLocal(this.before.value),
    };
  }

  set busy(busy) {
    this.submit.textContent = busy ? "Searching ..." : "Search";
    this.submit.setAttribute("aria-busy", String(busy));
  }

  #makeInputs() {
    this.cameras = textInput("cam1, cam2");
    this.notCameras = textInput("cam3");
    this.persons = textInput("0007");
    this.after = timeInput();
    this.before = timeInput();
    this.results = h("input", { type: "number", min: "1", max: String(MAX_RESULTS), step: "1", value: "20", required: true });
    this.rerank = h("input", { type: "checkbox", id: "rerank" });
  }

  #makeForm(onSearch) {
    const filters = h("details", {}, h("summary", {}, "Filters"),
      h("div", { class: "stack tight" },
        field("Cameras", this.cameras, "Several with commas between them."),
        field("Not these cameras", this.notCameras),
        field("Persons", this.persons),
        field("Taken at or after", this.after),
        field("Taken before", this.before),
        button("Clear filters", () => this.#clearFilters(), { kind: "quiet" })));
    return h("form", {
      class: "card stack search-form no-print", novalidate: true, "aria-label": "Search",
      on: {
        submit: (event) => {
          event.preventDefault();
          this.#refresh();
          if (this.lacks === null) onSearch();
          else this.element.reportValidity();
        },
      },
    },
    this.crops.element, this.modality.element, this.target.element,
    h("div", {}, this.rate.element, this.rateHint),
    this.group.element,
    h("div", { class: "pair" }, field("Results at most", this.results),
      h("p", { class: "check" }, this.rerank, h("label", { for: "rerank" }, "Re-rank by common neighbours"))),
    filters, h("div", { class: "submit" }, this.submit, this.missing));
  }

  #clearFilters() {
    for (const input of [this.cameras, this.notCameras, this.persons, this.after, this.before]) input.value = "";
  }

  #refresh() {
    replace(this.missing, this.lacks ?? "");
  }

  // Offer the rates that the calibration supports for every pair that this search compares.
  #offerRates() {
    const pairs = pairsOf(this.modality.value, this.target.value);
    const lowest = Math.max(...pairs.map((pair) => lowestRate(this.#calibration?.kinds?.[pair])));
    for (const radio of this.rate.element.querySelectorAll("input")) {
      radio.disabled = radio.value !== "" && !(Number(radio.value) >= lowest);
      if (radio.disabled && radio.checked) this.rate.value = "";
    }
    replace(this.rateHint, rateHint(this.#calibration, pairs, lowest));
  }
}

function rateHint(calibration, pairs, lowest) {
  if (!calibration) return "The model is not calibrated: no rate can be promised.";
  if (lowest === Infinity) return `The model is not calibrated for ${pairs.join(" and ")}.`;
  return "Of comparisons with other persons at most so many pass; beyond, the person is unknown.";
}

function pairsOf(modality, target) {
  const asked = modality === null ? ["visible", "infrared"] : [modality];
  const among = target === "any" ? ["visible", "infrared"] : [target];
  const pairs = asked.flatMap((one) => among.map((other) => pairOf(one, other)));
  return [...new Set(pairs)];
}

function lowestRate(kind) {
  return kind ? Math.min(Infinity, ...kind.thresholds.map(({ rate }) => rate)) : Infinity;
}
