// One entry: all that is known of it, corrections, and its end.

import { confirmed, openDialog } from "/web/dialog.js";
import { button, errorText, factList, field, h, notice, replace, timeInput } from "/web/dom.js";
import { fromLocal, time, toLocal } from "/web/format.js";
import { erasePerson } from "/web/gallery/erase.js";

// Open an entry. `onChange(entryId, entry)`: it was changed, null: deleted; `onErased()`: a person is.
export function openEntry({ app, entry, onChange, onErased }) {
  const body = h("div", { class: "entry-body" });
  const dialog = openDialog({ title: `Entry ${entry.entry_id}`, body, wide: true });
  const show = (now) => replace(body,
    app.session.may("GET /gallery/{entry_id}/crop") && app.crops.element(now.crop_url, `Crop of ${now.entry_id}`),
    h("div", { class: "stack" }, facts(now), actions(now)),
    app.session.may("PATCH /gallery/{entry_id}") && correction(app, now, (changed) => {
      onChange(changed.entry_id, changed);
      show(changed);
    }));

  function actions(now) {
    const mayErase = app.session.may("DELETE /persons/{person_id}") && now.person_id !== null;
    return h("div", { class: "actions" },
      app.session.may("POST /query", "GET /gallery/{entry_id}/crop") && now.crop_url
        && h("a", { class: "button", href: `#/search?${new URLSearchParams({ entry: now.entry_id })}` }, "Search with this crop"),
      app.session.may("DELETE /gallery/{entry_id}") && button("Delete entry", () => remove(now), { kind: "danger" }),
      mayErase && button("Erase person", () => erasePerson(app, now.person_id, () => {
        dialog.close();
        onErased();
      }), { kind: "danger" }));
  }

  async function remove(now) {
    const sure = await confirmed({ title: "Delete this entry?", text: `Entry ${now.entry_id}, its vector and its crop are erased. This cannot be undone.`, action: "Delete" });
    if (!sure) return;
    try {
      await app.api.remove(`/gallery/${encodeURIComponent(now.entry_id)}`);
    } catch (error) {
      if (error.status !== 404) {
        app.announce(`Not deleted: ${errorText(error)}`, "error");
        return;
      }
    }
    onChange(now.entry_id, null);
    dialog.close();
    app.announce(`Entry ${now.entry_id} is deleted.`);
  }

  show(entry);
}

function facts(entry) {
  const attributes = Object.entries(entry.attributes ?? {});
  const rows = [
    ["Person", entry.person_id ?? "none"], ["Camera", entry.camera_id ?? "none"],
    ["Modality", entry.modality], ["Taken", time(entry.captured_at)], ["Enrolled", time(entry.enrolled_at)],
    ["Model", h("code", {}, entry.model_id)], ["SHA-256", h("code", {}, entry.crop_sha256)],
    ...attributes.map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]),
  ];
  return factList(rows);
}

// A form that changes what may change; the crop and its modality never do.
function correction(app, entry, onChanged) {
  const inputs = {
    person_id: h("input", { type: "text", autocomplete: "off", value: entry.person_id ?? "" }),
    camera_id: h("input", { type: "text", autocomplete: "off", value: entry.camera_id ?? "" }),
    captured_at: timeInput(toLocal(entry.captured_at)),
    attributes: h("textarea", { rows: "3", spellcheck: "false", value: JSON.stringify(entry.attributes ?? {}) }),
  };
  const before = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value]));
  const said = h("div");
  const save = async (event) => {
    event.preventDefault();
    const changed = Object.keys(inputs).filter((name) => inputs[name].value !== before[name]);
    if (changed.length === 0) return;
    try {
      const body = Object.fromEntries(changed.map((name) => [name, valueOf(name, inputs[name].value)]));
      onChanged(await app.api.json("PATCH", `/gallery/${encodeURIComponent(entry.entry_id)}`, body));
      app.announce("The correction is saved.");
    } catch (error) {
      replace(said, notice("error", "Not saved", error instanceof SyntaxError ? "Attributes: expected a JSON object." : errorText(error)));
    }
  };
  return h("form", { class: "stack", on: { submit: save } }, h("h3", {}, "Correct"),
    field("Person id", inputs.person_id, "Empty: nobody."), field("Camera id", inputs.camera_id),
    field("Taken at", inputs.captured_at), field("Attributes (JSON)", inputs.attributes), said,
    h("div", {}, h("button", { type: "submit", class: "button primary" }, "Save correction")));
}

function valueOf(name, text) {
  if (name === "attributes") return text.trim() === "" ? null : JSON.parse(text);
  return name === "captured_at" ? fromLocal(text) : text.trim() || null;
}
