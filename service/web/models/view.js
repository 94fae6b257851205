// Models: what there is, which one answers, and how to change that safely.

import { button, errorNotice, errorText, h, notice, replace } from "/web/dom.js";
import { confirmed } from "/web/dialog.js";
import { bytes } from "/web/format.js";
import { activate } from "/web/models/activation.js";
import { JobPanel, jobTable } from "/web/models/jobs.js";
import { modelCard } from "/web/models/model_card.js";
import { openPublish } from "/web/models/publish.js";

export const title = "Models";
export const needs = ["GET /models", "GET /jobs"];

export function create(app) {
  return new ModelsView(app);
}

class ModelsView {
  #app;
  #models = h("div", { class: "stack" });
  #tools = h("div", { class: "actions" });
  #past = h("div");
  #panel;

  constructor(app) {
    this.#app = app;
    this.#panel = new JobPanel(app, () => this.#load());
    this.element = h("section", { class: "stack" },
      h("div", { class: "toolbar" }, h("h1", {}, title), this.#tools),
      this.#panel.element, this.#models, this.#past);
  }

  shown() {
    this.#load();
  }

  hidden() {
    this.#panel.leave();
  }

  async #load() {
    if (this.#models.children.length === 0) replace(this.#models, notice("", "Loading ..."));
    try {
      const [known, { jobs }] = await Promise.all([this.#app.api.get("/models"), this.#app.api.get("/jobs")]);
      const running = jobs.find((job) => job.status === "running");
      this.#showTools(known, running);
      replace(this.#models, sorted(known).map((model) => modelCard(model, this.#actionsOf(model, running))));
      replace(this.#past, jobTable(jobs));
      if (running) this.#panel.follow(running);
    } catch (error) {
      replace(this.#models, errorNotice(error, button("Try again", () => this.#load())));
    }
  }

  #showTools({ kept }, running) {
    const may = (call) => this.#app.session.may(call);
    replace(this.#tools,
      may("POST /models") && button("Publish a model", () => openPublish(this.#app, () => this.#load())),
      kept && may("POST /models/rollback") && button("Roll back", () => this.#rollBack(kept), { kind: "danger", disabled: Boolean(running) }),
      kept && may("POST /models/reclaim") && button("Give up the earlier model", () => this.#reclaim(kept), { disabled: Boolean(running) }),
      button("Reload", () => this.#load()));
  }

  #actionsOf(model, running) {
    const may = (call) => this.#app.session.may(call);
    return [
      model.state !== "active" && may("POST /models/{model_id}/activate")
        && button("Activate", () => activate(this.#app, model, (job) => this.#panel.follow(job), () => this.#load()),
          { kind: "primary", disabled: Boolean(running) }),
      model.state === "active" && may("POST /models/{model_id}/calibrate")
        && button("Calibrate from the gallery", () => this.#calibrate(model), { disabled: Boolean(running) }),
    ];
  }

  async #rollBack(kept) {
    const sure = await confirmed({
      title: "Go back to the earlier model?",
      text: `Model ${kept} answers again at once, with its own vectors and calibration. Entries enrolled since are in it too.`,
      action: "Roll back",
    });
    if (sure) await this.#do(() => this.#app.api.json("POST", "/models/rollback"), "The earlier model answers again.");
  }

  async #reclaim(kept) {
    const sure = await confirmed({
      title: "Give up the earlier model?",
      text: `The vectors of model ${kept} are deleted. Going back then takes a whole refresh.`,
      action: "Give up",
    });
    if (!sure) return;
    await this.#do(async () => {
      const freed = await this.#app.api.json("POST", "/models/reclaim");
      this.#app.announce(`${bytes(freed.bytes_freed)} are free again.`);
    });
  }

  async #calibrate(model) {
    const sure = await confirmed({
      title: "Calibrate anew?",
      text: "The model's error rates are measured from the person ids of the gallery. Probabilities and thresholds change then.",
      action: "Calibrate",
      danger: false,
    });
    if (sure) await this.#do(() => this.#app.api.json("POST", `/models/${encodeURIComponent(model.model_id)}/calibrate`));
  }

  async #do(call, said = null) {
    try {
      await call();
      if (said) this.#app.announce(said);
    } catch (error) {
      this.#app.announce(errorText(error), "error");
    }
    await this.#load();
  }
}

function sorted({ models }) {
  const order = { active: 0, refreshing: 1, kept: 2, available: 3 };
  return [...models].sort((one, other) => order[one.state] - order[other.state]);
}
