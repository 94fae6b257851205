// Which entries the gallery shows; kept in the address, so that other views can lead here.

import { button, choice, field, h, textInput, timeInput } from "/web/dom.js";
import { fromLocal, LIGHTS, namesOf, toLocal } from "/web/format.js";

const SEVERAL = ["person_id", "camera_id"];
const TIMES = ["captured_after", "captured_before"];

// `onFilter(params)` is called with what the API is to be asked for.
export class Filters {
  #modality = choice("Modality", "gallery-modality", [["", "Any"], ...LIGHTS], "");
  #inputs = {
    person_id: textInput("0007, 0008"),
    camera_id: textInput("cam1, cam2"),
    captured_after: timeInput(),
    captured_before: timeInput(),
    attributes: textInput('{"site": "north"}'),
  };
  #taken = {};

  constructor(onFilter) {
    this.element = h("form", {
      class: "card toolbar", "aria-label": "Filter the gallery",
      on: {
        submit: (event) => {
          event.preventDefault();
          onFilter(this.params);
        },
      },
    },
    field("Persons", this.#inputs.person_id), field("Cameras", this.#inputs.camera_id),
    field("Taken at or after", this.#inputs.captured_after), field("Taken before", this.#inputs.captured_before),
    field("Attributes", this.#inputs.attributes), this.#modality.element,
    h("button", { type: "submit", class: "button primary" }, "Filter"),
    button("Clear", () => { this.clear(); onFilter(this.params); }, { kind: "quiet" }));
  }

  // The filters as the API names them; what is empty is left out.
  get params() {
    const params = {};
    for (const name of SEVERAL) {
      const written = this.#inputs[name].value;
      const names = written === this.#taken[name]?.join(", ")
        ? this.#taken[name] : namesOf(written);
      if (names.length > 0) params[name] = names;
    }
    for (const name of TIMES) {
      const at = fromLocal(this.#inputs[name].value);
      if (at !== null) params[name] = at;
    }
    if (this.#inputs.attributes.value.trim() !== "") params.attributes = this.#inputs.attributes.value.trim();
    if (this.#modality.value) params.modality = this.#modality.value;
    return params;
  }

  // Show what an address asks for: `params` are of the hash. A name with a comma in it stays one.
  take(params) {
    this.clear();
    for (const name of SEVERAL) {
      this.#taken[name] = params.getAll(name);
      this.#inputs[name].value = this.#taken[name].join(", ");
    }
    for (const name of TIMES) {
      if (params.has(name)) this.#inputs[name].value = toLocal(params.get(name));
    }
    this.#inputs.attributes.value = params.get("attributes") ?? "";
    this.#modality.value = params.get("modality") ?? "";
  }

  clear() {
    for (const input of Object.values(this.#inputs)) input.value = "";
    this.#modality.value = "";
  }
}
