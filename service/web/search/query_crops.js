// The crops of the person who is searched for: dropped, pasted or chosen, shown small, taken away.

import { button, filePicker, h, notice, replace } from "/web/dom.js";
import { bytes } from "/web/format.js";

const TYPES = ["image/jpeg", "image/png", "image/webp", "image/bmp", "image/x-ms-bmp", "image/tiff"];
const MAX_CROPS = 16;
const MAX_BYTES = 10 * 1024 * 1024;

export class QueryCrops {
  #files = [];
  #addresses = new Map();
  #list = h("ul", { class: "query-crops", "aria-label": "Crops to search with" });
  #problems = h("div");
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
    const picker = filePicker({ accept: TYPES.join(","), onFiles: (files) => this.add(files) },
      h("strong", {}, "Choose crops"), h("span", {}, " of one person, drop them here, or paste"));
    this.element = h("div", { class: "stack tight" }, picker, this.#list, this.#problems);
    this.#takeDrops(picker.querySelector("label"));
  }

  get files() {
    return [...this.#files];
  }

  add(files) {
    const refused = [];
    for (const file of files) {
      const why = this.#refusal(file);
      if (why) refused.push(`${file.name || "pasted image"}: ${why}`);
      else this.#files.push(file);
    }
    this.#show();
    replace(this.#problems, refused.length > 0 && notice("error", "Not taken", refused.join("; ")));
    this.#onChange();
  }

  // Take these crops and no others.
  set(files) {
    this.#files = [];
    this.add(files);
  }

  // Images of a paste anywhere on the page.
  takePaste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    this.add(files);
  }

  // An address of a crop for an <img>.
  address(file) {
    if (!this.#addresses.has(file)) this.#addresses.set(file, URL.createObjectURL(file));
    return this.#addresses.get(file);
  }

  #refusal(file) {
    if (this.#files.length >= MAX_CROPS) return `more than ${MAX_CROPS} crops`;
    if (file.size > MAX_BYTES) return `${bytes(file.size)}, expected at most ${bytes(MAX_BYTES)}`;
    if (file.type !== "" && !TYPES.includes(file.type)) return `expected an image, came ${file.type}`;
    return null;
  }

  #show() {
    replace(this.#list, this.#files.map((file) => h("li", {},
      h("img", { src: this.address(file), alt: file.name || "pasted image" }),
      button("Remove", () => this.#remove(file), { kind: "quiet", "aria-label": `Remove ${file.name || "pasted image"}` }))));
  }

  #remove(file) {
    this.#files = this.#files.filter((other) => other !== file);
    URL.revokeObjectURL(this.#addresses.get(file));
    this.#addresses.delete(file);
    this.#show();
    this.#onChange();
  }

  #takeDrops(drop) {
    const over = (event) => {
      event.preventDefault();
      drop.classList.add("over");
    };
    drop.addEventListener("dragenter", over);
    drop.addEventListener("dragover", over);
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      this.add([...event.dataTransfer.files]);
    });
  }
}
