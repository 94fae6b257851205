// The entries of the gallery as a grid of crops, page by page.

import { button, errorNotice, h, notice, replace } from "/web/dom.js";
import { count, time } from "/web/format.js";

const PAGE = 60;

export class Entries {
  #app;
  #onOpen;
  #params = {};
  #cursor = null;
  #loading = null;
  #list = h("ol", { class: "entries", "aria-label": "Entries" });
  #state = h("div", { role: "status" });
  #more = button("Load more", () => this.#load(), { hidden: true });
  #end = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && this.#load(), { rootMargin: "800px" });

  constructor(app, onOpen) {
    this.#app = app;
    this.#onOpen = onOpen;
    this.element = h("div", { class: "stack" }, this.#state, this.#list, h("p", {}, this.#more));
  }

  // Show the entries of these filters from the first on.
  async show(params) {
    this.#params = params;
    this.#cursor = null;
    this.#loading?.abort();
    this.#loading = null;
    this.#more.hidden = true;
    replace(this.#list);
    replace(this.#state, notice("", "Loading ..."));
    await this.#load();
  }

  // Show an entry as it is now; null: it is gone.
  update(entryId, entry) {
    const old = this.#list.querySelector(`[data-entry="${CSS.escape(entryId)}"]`);
    if (entry === null) old?.remove();
    else old?.replaceWith(this.#card(entry));
    this.#count();
  }

  async #load() {
    if (this.#loading !== null) return;
    const loading = this.#loading = new AbortController();
    this.#end.disconnect();
    try {
      const page = await this.#app.api.get("/gallery", { ...this.#params, limit: PAGE, cursor: this.#cursor }, { signal: loading.signal });
      this.#list.append(...page.entries.map((entry) => this.#card(entry)));
      this.#cursor = page.next_cursor;
      this.#count();
    } catch (error) {
      if (!loading.signal.aborted) replace(this.#state, errorNotice(error, button("Try again", () => this.#load())));
      return;
    } finally {
      if (this.#loading === loading) this.#loading = null;
    }
    this.#more.hidden = this.#cursor === null;
    if (this.#cursor !== null) this.#end.observe(this.#more);
  }

  #count() {
    const shown = this.#list.children.length;
    const filtered = Object.keys(this.#params).length > 0;
    if (shown > 0) replace(this.#state, h("p", { class: "hint" }, `${count(shown)} shown${this.#cursor === null ? ", that is all" : ", more follow"}`));
    else if (filtered) replace(this.#state, notice("", "No entry is like that", "No entry meets all of these filters."));
    else replace(this.#state, notice("", "The gallery is empty", "Enrol crops, and they can be found."));
  }

  #card(entry) {
    const who = entry.person_id ?? "no person";
    return h("li", { class: "tile", dataset: { entry: entry.entry_id } },
      h("button", { type: "button", "aria-haspopup": "dialog", on: { click: () => this.#onOpen(entry) } },
        h("span", { class: "visually-hidden" }, `Entry ${entry.entry_id}, person `),
        this.#app.session.may("GET /gallery/{entry_id}/crop") && this.#app.crops.element(entry.crop_url, ""),
        h("span", { class: "person" }, who),
        h("span", { class: "quiet" }, entry.camera_id ?? "no camera"),
        h("span", { class: "quiet" }, time(entry.captured_at)),
        h("span", {}, h("span", { class: `badge ${entry.modality}` }, entry.modality))));
  }
}
