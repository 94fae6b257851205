// Enrolling many files: what they are, how far it is, and which were refused and why.

import { button, choice, field, filePicker, freshId, h, notice, replace, scrollable, textInput, timeInput } from "/web/dom.js";
import { downloadCsv, stamp } from "/web/download.js";
import { count, duration, fromLocal, LIGHTS } from "/web/format.js";
import { Enrolment, refusalOf } from "/web/gallery/enrolment.js";

const SHOWN = 200;

// The form and its progress. `onEnrolled()` when something was.
export class Enrol {
  #app;
  #onEnrolled;
  #files = [];
  #early = [];
  #running = null;
  #modality = choice("The crops were taken in", "enrol-modality", LIGHTS, null, () => this.#refresh());
  #person = textInput("0007");
  #camera = textInput("cam1");
  #taken = timeInput();
  #fromName = h("input", { type: "checkbox", id: freshId("from-name"), on: { change: () => this.#refresh() } });
  #chosen = h("p", { class: "hint", role: "status" });
  #send = h("button", { type: "submit", class: "button primary", disabled: true }, "Enrol");
  #progress = h("div", { class: "stack", "aria-live": "polite" });

  constructor(app, onEnrolled) {
    this.#app = app;
    this.#onEnrolled = onEnrolled;
    this.element = h("div", { class: "stack" }, this.#form(), this.#progress);
    this.#refresh();
  }

  // Take files that were dropped, pasted or chosen.
  add(files) {
    for (const file of files) {
      const why = refusalOf(file);
      if (why === null) this.#files.push(file);
      else this.#early.push({ name: file.name, why });
    }
    this.#refresh();
  }

  #form() {
    const picker = filePicker({ accept: "image/*", onFiles: (files) => this.add(files) }, h("strong", {}, "Choose files"), " or drop them here");
    return h("form", {
      class: "stack", "aria-label": "Enrol", novalidate: true,
      on: {
        dragover: (event) => event.preventDefault(),
        drop: (event) => { event.preventDefault(); this.add([...event.dataTransfer.files]); },
        submit: (event) => { event.preventDefault(); this.#begin(); },
      },
    },
    picker, this.#chosen, this.#modality.element,
    h("div", { class: "columns" },
      field("Person id of all", this.#person), field("Camera id of all", this.#camera), field("All taken at", this.#taken)),
    h("p", { class: "check" }, this.#fromName, h("label", { for: this.#fromName.id }, "Person id from the file name, up to the first _ or .")),
    h("div", { class: "actions" }, this.#send, button("Clear list", () => this.#clear(), { kind: "quiet" })));
  }

  #refresh() {
    const example = this.#fromName.checked && this.#files.length > 0
      ? ` ${this.#files[0].name} is of person ${personOf(this.#files[0].name)}.` : "";
    replace(this.#chosen, this.#files.length === 0 && this.#early.length === 0
      ? "No files chosen." : `${count(this.#files.length)} files chosen.${example}`);
    this.#person.disabled = this.#fromName.checked;
    this.#send.disabled = this.#running !== null || this.#modality.value === null || this.#files.length + this.#early.length === 0;
    this.#send.title = this.#modality.value === null ? "Say in which light the crops were taken" : "";
  }

  #clear() {
    this.#files = [];
    this.#early = [];
    replace(this.#progress);
    this.#refresh();
  }

  async #begin() {
    const items = this.#files.map((file) => ({ file, fields: this.#fieldsOf(file) }));
    const enrolment = this.#running = new Enrolment(this.#app.api, items, this.#early);
    this.#files = [];
    this.#early = [];
    this.#refresh();
    await this.#run(enrolment);
  }

  async #run(enrolment) {
    this.#running = enrolment;
    this.#refresh();
    await enrolment.run(() => this.#show(enrolment));
    this.#running = null;
    this.#refresh();
    this.#show(enrolment);
    if (enrolment.enrolled > 0) this.#onEnrolled();
  }

  #fieldsOf(file) {
    const person = this.#fromName.checked ? personOf(file.name) : this.#person.value.trim();
    const given = {
      modality: this.#modality.value, person_id: person, camera_id: this.#camera.value.trim(),
      captured_at: fromLocal(this.#taken.value), attributes: { file: file.name },
    };
    return Object.fromEntries(Object.entries(given).filter(([, value]) => value));
  }

  #show(enrolment) {
    const { done, total, refused, stopped, running } = enrolment;
    const said = `${count(done)} of ${count(total)} done: ${count(enrolment.enrolled)} enrolled, `
      + `${count(enrolment.replayed)} were there already, ${count(refused.length)} refused`;
    replace(this.#progress,
      h("p", {}, said, running && enrolment.perSecond > 0 && `, ${enrolment.perSecond.toFixed(1)} a second, ${duration(enrolment.secondsLeft)} left`),
      h("progress", { max: String(Math.max(1, total)), value: done, "aria-label": "Enrolled" }),
      running && h("p", {}, button("Stop", () => enrolment.stop())),
      !running && stopped && notice("warn", "Not all was sent", `${stopped} ${count(total - done)} files are left.`,
        button("Go on", () => this.#run(enrolment))),
      refused.length > 0 && this.#refusals(refused));
  }

  #refusals(refused) {
    const rows = refused.slice(0, SHOWN).map(({ name, why }) => h("tr", {}, h("td", {}, name), h("td", {}, why)));
    return h("div", { class: "stack" },
      scrollable("Refused files",
        h("table", { class: "table" },
          h("caption", {}, refused.length > SHOWN ? `The first ${SHOWN} of ${count(refused.length)} refused files` : "Refused files"),
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "File"), h("th", { scope: "col" }, "Why"))), h("tbody", {}, rows))),
      h("p", {}, button("Save the refusals as CSV", () => downloadCsv(`refused-${stamp()}.csv`, ["file", "why"], refused.map(({ name, why }) => [name, why])))));
  }
}

// The person that a file name begins with: 0007_cam1.jpg is of 0007.
function personOf(name) {
  return name.split(/[_.]/)[0].trim();
}
