// Erasing a person: asked for by name, done at once, and proved by a receipt.

import { confirmed, openDialog } from "/web/dialog.js";
import { button, errorText, factList, field, h } from "/web/dom.js";
import { downloadJson, stamp } from "/web/download.js";
import { count, time } from "/web/format.js";

// Ask, erase, show the receipt. `onErased()` is called when it is done.
export async function erasePerson(app, personId, onErased) {
  const sure = await confirmed({
    title: "Erase this person?",
    text: `Every entry of person ${personId} goes, with vectors and crops, from every generation and snapshot. `
      + "This cannot be undone. The audit log keeps that it was done.",
    action: "Erase person",
    typed: personId,
  });
  if (!sure) return;
  try {
    const receipt = await app.api.remove(`/persons/${encodeURIComponent(personId)}`);
    onErased();
    showReceipt(receipt, app.session);
  } catch (error) {
    app.announce(`Not erased: ${errorText(error)}`, "error");
  }
}

// Ask whom to erase, by id.
export function askWhomToErase(app, onErased) {
  const input = h("input", { type: "text", required: true, autocomplete: "off" });
  const form = h("form", {
    class: "stack",
    on: {
      submit: (event) => {
        event.preventDefault();
        dialog.close();
        erasePerson(app, input.value.trim(), onErased);
      },
    },
  }, field("Person id", input), h("div", {}, h("button", { type: "submit", class: "button danger" }, "Go on")));
  const dialog = openDialog({ title: "Erase a person", body: form });
}

function showReceipt(receipt, session) {
  const rows = [
    ["Person", receipt.person_id], ["Erased at", `${time(receipt.erased_at)} (${receipt.erased_at})`],
    ["Erased by", session.name], ["Entries", count(receipt.entries)], ["Vectors", count(receipt.vectors)],
    ["Crops", count(receipt.crops)], ["Entry ids", receipt.entry_ids.join(", ")],
  ];
  openDialog({
    title: "Receipt of an erasure",
    body: factList(rows),
    actions: [
      button("Save as JSON", () => downloadJson(`erasure-${stamp()}.json`, { ...receipt, erased_by: session.name })),
      button("Print", () => window.print()),
    ],
  });
}
