// Search: from crops of one person to those in the gallery who may be that person.

import { button, errorNotice, h, notice, replace } from "/web/dom.js";
import { openComparison } from "/web/search/compare.js";
import { exportCsv, exportJson } from "/web/search/export.js";
import { SearchForm } from "/web/search/form.js";
import { printReport } from "/web/search/report.js";
import { search } from "/web/search/request.js";
import { showResults } from "/web/search/results.js";

export const title = "Search";
export const needs = ["POST /query"];

export function create(app) {
  return new SearchView(app);
}

class SearchView {
  #app;
  #found = null;
  #running = null;
  #form = new SearchForm(() => this.#search(), () => this.#found && this.#search());
  #outcome = h("div", { class: "stack", "aria-live": "polite" });
  #tools = h("div", { class: "toolbar no-print", hidden: true });
  #paste = (event) => this.#form.crops.takePaste(event);

  constructor(app) {
    this.#app = app;
    replace(this.#tools,
      button("Export CSV", () => exportCsv(this.#found, app.session)),
      button("Export JSON", () => exportJson(this.#found, app.session)),
      button("Print report", () => this.#print()));
    replace(this.#outcome, notice("", "Nothing searched yet", "Choose crops of one person and say in which light they were taken."));
    this.element = h("section", { class: "search" },
      h("h1", { class: "visually-hidden" }, title),
      this.#form.element,
      h("div", { class: "stack found" }, this.#tools, this.#outcome));
  }

  shown(params) {
    document.addEventListener("paste", this.#paste);
    this.#readCalibration();
    if (params.has("entry")) this.#takeEntry(params.get("entry"));
  }

  hidden() {
    document.removeEventListener("paste", this.#paste);
  }

  async #readCalibration() {
    try {
      const { active, models } = await this.#app.api.get("/models");
      this.#form.calibration = models.find((model) => model.model_id === active)?.calibration ?? null;
    } catch (error) {
      this.#app.announce(`The calibration could not be read: ${error.message}`, "error");
    }
  }

  // Search with the crop of an entry of the gallery.
  async #takeEntry(entryId) {
    const path = `/gallery/${encodeURIComponent(entryId)}`;
    try {
      const [entry, blob] = await Promise.all([this.#app.api.get(path), this.#app.api.blob(`${path}/crop`)]);
      this.#form.crops.set([new File([blob], entryId, { type: blob.type })]);
      this.#form.setModality(entry.modality);
    } catch (error) {
      this.#app.announce(`The crop of ${entryId} could not be taken: ${error.message}`, "error");
    }
  }

  async #search() {
    if (this.#form.lacks !== null) return;
    this.#running?.abort();
    const running = this.#running = new AbortController();
    this.#form.busy = true;
    try {
      const found = await search(this.#app.api, this.#form.crops.files, this.#form.fields, this.#form.rate.value, running.signal);
      this.#found = found;
      showResults(this.#outcome, found, this.#app.crops, (match) => this.#open(match));
    } catch (error) {
      if (running.signal.aborted) return;
      this.#found = null;
      replace(this.#outcome, errorNotice(error, button("Search again", () => this.#search())));
    } finally {
      if (this.#running === running) {
        this.#form.busy = false;
        this.#tools.hidden = this.#found === null;
      }
    }
  }

  #open(match) {
    openComparison({ app: this.#app, found: this.#found, match, address: (file) => this.#form.crops.address(file) });
  }

  async #print() {
    await printReport({ app: this.#app, found: this.#found, address: (file) => this.#form.crops.address(file) });
  }
}
