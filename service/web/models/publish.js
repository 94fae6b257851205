// Publishing a model: both files of its directory, as `mpanet export` writes them.

import { openDialog } from "/web/dialog.js";
import { errorNotice, field, h, notice, replace } from "/web/dom.js";

export function openPublish(app, onPublished) {
  const manifest = h("input", { type: "file", required: true, accept: ".json,application/json" });
  const model = h("input", { type: "file", required: true, accept: ".onnx" });
  const said = h("div", { "aria-live": "polite" });
  const send = h("button", { type: "submit", class: "button primary" }, "Publish");
  const form = h("form", { class: "stack", on: { submit: (event) => { event.preventDefault(); publish(); } } },
    field("manifest.json", manifest), field("model.onnx", model),
    h("p", { class: "hint" }, "It is verified, hashes and a trial run included, before it is listed. The active model stays as it is."),
    said, h("div", {}, send));
  const dialog = openDialog({ title: "Publish a model", body: form });

  async function publish() {
    send.disabled = true;
    replace(said, notice("", "Sending and verifying ..."));
    const body = new FormData();
    body.append("manifest", manifest.files[0]);
    body.append("model", model.files[0]);
    try {
      const published = await app.api.form("POST", "/models", body, { timeoutMs: 900_000 });
      dialog.close();
      app.announce(`Model ${published.model_id.slice(0, 16)} is published.`);
      onPublished();
    } catch (error) {
      replace(said, errorNotice(error));
      send.disabled = false;
    }
  }
}
