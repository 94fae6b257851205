// Gallery: who is enrolled; enrol, correct, delete, erase.

import { withQuery } from "/web/api.js";
import { openDialog } from "/web/dialog.js";
import { button, h } from "/web/dom.js";
import { Enrol } from "/web/gallery/enrol.js";
import { Entries } from "/web/gallery/entries.js";
import { openEntry } from "/web/gallery/entry.js";
import { askWhomToErase } from "/web/gallery/erase.js";
import { Filters } from "/web/gallery/filters.js";

export const title = "Gallery";
export const needs = ["GET /gallery"];

export function create(app) {
  const filters = new Filters((params) => {
    const hash = withQuery("#/gallery", params);
    if (location.hash === hash) entries.show(params);
    else app.go(hash);
  });
  const again = () => entries.show(filters.params);
  const entries = new Entries(app, (entry) => openEntry({
    app, entry, onChange: (entryId, changed) => entries.update(entryId, changed), onErased: again,
  }));
  const enrol = app.session.may("POST /gallery/batch") ? new Enrol(app, again) : null;
  const openEnrol = () => openDialog({ title: "Enrol crops", body: enrol.element });
  const paste = (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length > 0 && enrol?.element.isConnected) enrol.add(files);
  };
  let first = true;
  return {
    element: h("section", { class: "stack" },
      h("div", { class: "toolbar" }, h("h1", {}, title),
        enrol && button("Enrol crops", openEnrol, { kind: "primary" }),
        app.session.may("DELETE /persons/{person_id}") && button("Erase a person", () => askWhomToErase(app, again), { kind: "danger" }),
        button("Reload", again)),
      filters.element, entries.element),
    shown(params) {
      document.addEventListener("paste", paste);
      if (!first && params.size === 0 && Object.keys(filters.params).length === 0) return;
      first = false;
      filters.take(params);
      entries.show(filters.params);
    },
    hidden() {
      document.removeEventListener("paste", paste);
    },
  };
}
