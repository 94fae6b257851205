// Making a model the active one: what will happen, and the answers to what stands in the way.

import { confirmed, openDialog } from "/web/dialog.js";
import { button, choice, errorNotice, errorText, h, notice, replace } from "/web/dom.js";
import { count } from "/web/format.js";

const SHOWN_IDS = 20;

// Ask and begin. `onJob(job)`: it runs; `onDone()`: nothing was to do.
export function activate(app, model, onJob, onDone) {
  const asked = { override: [], entries_without_crop: null, reclaim_kept: false };
  const obstacle = h("div", { class: "stack" });
  const go = button("Activate", begin, { kind: "primary" });
  const dialog = openDialog({
    title: "Activate this model?",
    body: h("div", { class: "stack" },
      h("p", {}, `Every stored crop is embedded anew by model ${model.model_id.slice(0, 16)}, while the active one goes on answering. `
        + "Then model, vectors, index and calibration change in one moment. The model before is kept, to go back to."),
      obstacle),
    actions: [go, button("Cancel", () => dialog.close())],
  });

  async function begin() {
    go.disabled = true;
    try {
      const answer = await app.api.json("POST", `/models/${encodeURIComponent(model.model_id)}/activate`, asked);
      dialog.close();
      if (answer.job_id) onJob(answer);
      else onDone();
    } catch (error) {
      replace(obstacle, overcome(error, asked, (named) => {
        go.textContent = named;
        go.disabled = false;
      }));
    }
  }
}

// What a refusal asks to be decided; `ready(name)` lets it be tried again.
function overcome(error, asked, ready) {
  if (error.code === "generation_kept") {
    asked.reclaim_kept = true;
    ready("Give it up and activate");
    return notice("warn", "An earlier model is kept", "Going back to it will not be possible any more.");
  }
  if (error.code === "entries_without_crop") {
    asked.entries_without_crop = "leave_out";
    ready("Activate without them");
    const ids = error.problem.entry_ids ?? [];
    const how = choice("What becomes of them", "without-crop",
      [["leave_out", "Leave them out: listed, not found"], ["erase", "Erase them"]], "leave_out",
      (value) => { asked.entries_without_crop = value; });
    return [
      notice("warn", "Entries without a crop", error.detail),
      h("p", { class: "mono" }, ids.slice(0, SHOWN_IDS).join(", "), ids.length > SHOWN_IDS && ` and ${count(ids.length - SHOWN_IDS)} more`),
      how.element,
    ];
  }
  return errorNotice(error);
}

// Activate a model that the gate refused, if the operator is sure.
export async function overridden(app, modelId, onJob) {
  const sure = await confirmed({
    title: "Activate a worse model?",
    text: `Model ${modelId} is worse on the evaluation set than the active one. That you activate it all the same is recorded under your name.`,
    action: "Activate",
  });
  if (!sure) return;
  try {
    onJob(await app.api.json("POST", `/models/${encodeURIComponent(modelId)}/activate`, { override: ["evaluation"] }));
  } catch (error) {
    app.announce(errorText(error), "error");
  }
}

// The figures that a gate held against a model, for the notice of a failed job.
export function gateFigures({ candidate, active, margin }) {
  const names = Object.keys(candidate ?? {});
  return h("table", { class: "table" },
    h("caption", {}, `Allowed to be worse by ${margin}`),
    h("thead", {}, h("tr", {}, ["", "This model", "Active model"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, names.map((name) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "number" }, candidate[name]), h("td", { class: "number" }, active[name])))));
}
