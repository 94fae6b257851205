// Audit: who did what, newest first, for those who have to answer for it.

import { button, errorNotice, field, h, notice, replace, scrollable, textInput, timeInput } from "/web/dom.js";
import { openDialog } from "/web/dialog.js";
import { downloadCsv, downloadJson, stamp } from "/web/download.js";
import { count, fromLocal, time } from "/web/format.js";

export const title = "Audit";
export const needs = ["GET /audit"];

const PAGE = 100;
const COLUMNS = ["sequence", "time", "caller", "call", "phase", "status", "code", "person_ids", "entry_ids", "request_id", "client"];

export function create(app) {
  return new AuditView(app);
}

class AuditView {
  #app;
  #events = [];
  #cursor = null;
  #asked = {};
  #inputs;
  #rows = h("tbody");
  #state = h("div", { role: "status" });
  #more = button("Load more", () => this.#load(), { hidden: true });

  constructor(app) {
    this.#app = app;
    this.element = h("section", { class: "stack" }, h("h1", {}, title), this.#form(),
      h("div", { class: "toolbar" },
        button("Export CSV", () => downloadCsv(`audit-${stamp()}.csv`, COLUMNS, this.#events.map((event) => COLUMNS.map((name) => flat(event[name]))))),
        button("Export JSON", () => downloadJson(`audit-${stamp()}.json`, { filters: this.#asked, events: this.#events }))),
      this.#state,
      scrollable("Audit log",
        h("table", { class: "table audit" },
          h("thead", {}, h("tr", {}, ["Time", "Who", "Call", "Status", "About", ""].map((name) => h("th", { scope: "col" }, name || h("span", { class: "visually-hidden" }, "All of it"))))),
          this.#rows)),
      h("p", {}, this.#more));
  }

  shown() {
    if (this.#events.length === 0) this.#search();
  }

  #form() {
    this.#inputs = {
      caller: textInput(), call: textInput(), person_id: textInput(), entry_id: textInput(), request_id: textInput(),
      status: h("input", { type: "number", min: "100", max: "599" }), after: timeInput(), before: timeInput(),
    };
    const names = {
      caller: "Who", call: "Call has", person_id: "Person", entry_id: "Entry", request_id: "Request id",
      status: "Status", after: "At or after", before: "Before",
    };
    return h("form", {
      class: "card toolbar", "aria-label": "Filter the audit log",
      on: { submit: (event) => { event.preventDefault(); this.#search(); } },
    },
    Object.entries(this.#inputs).map(([name, input]) => field(names[name], input)),
    h("button", { type: "submit", class: "button primary" }, "Filter"));
  }

  async #search() {
    this.#events = [];
    this.#cursor = null;
    this.#asked = Object.fromEntries(Object.entries(this.#inputs)
      .map(([name, input]) => [name, input.type === "datetime-local" ? fromLocal(input.value) : input.value.trim()])
      .filter(([, value]) => value));
    replace(this.#rows);
    await this.#load();
  }

  async #load() {
    this.#more.hidden = true;
    replace(this.#state, notice("", "Loading ..."));
    try {
      const page = await this.#app.api.get("/audit", { ...this.#asked, limit: PAGE, cursor: this.#cursor });
      this.#events.push(...page.events);
      this.#rows.append(...page.events.map((event) => this.#row(event)));
      this.#cursor = page.next_cursor;
      this.#more.hidden = this.#cursor === null;
      replace(this.#state, this.#said(page), page.damaged.map((line) => notice("error", "A line of the log is damaged", line)));
    } catch (error) {
      replace(this.#state, error.code === "audit_off" ? notice("warn", "No audit log is kept", "The service was started without one.")
        : errorNotice(error, button("Try again", () => this.#load())));
    }
  }

  #said({ searched_to: to }) {
    const found = `${count(this.#events.length)} shown`;
    if (this.#cursor === null) return h("p", { class: "hint" }, this.#events.length === 0 ? "Nothing in the log is like that." : `${found}, that is all.`);
    return h("p", { class: "hint" }, `${found}; looked back to ${time(to)}, older ones may follow.`);
  }

  #row(event) {
    return h("tr", {},
      h("td", {}, time(event.time)), h("td", {}, event.caller), h("td", {}, event.call),
      h("td", {}, event.status ?? event.phase, event.code && ` ${event.code}`), h("td", {}, about(event)),
      h("td", {}, button("All", () => openDialog({
        title: `Record ${event.sequence}`, body: h("pre", { class: "mono scroll", tabindex: "0" }, JSON.stringify(event, null, 2)),
      }), { "aria-label": `All of record ${event.sequence}` })));
  }
}

// What a call was about, with ways to its persons.
function about(event) {
  const links = (event.person_ids ?? []).slice(0, 3)
    .map((id) => h("a", { href: `#/gallery?${new URLSearchParams({ person_id: id })}` }, `person ${id}`));
  const entries = event.entry_ids ?? [];
  return [
    links.map((link) => [link, " "]),
    entries.length > 0 && `entries ${entries.slice(0, 3).join(", ")}${entries.length > 3 ? ` and ${count(entries.length - 3)} more` : ""} `,
    event.shown && `${count(event.shown.length)} shown `,
    event.fields?.modality && `${event.fields.modality} `,
    event.fields?.model_id && `model ${event.fields.model_id.slice(0, 12)}`,
  ];
}

function flat(value) {
  return Array.isArray(value) ? value.join(" ") : value ?? null;
}
