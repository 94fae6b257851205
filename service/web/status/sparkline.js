// The last minutes of one figure as a small line.

import { replace, svg } from "/web/dom.js";

const KEPT = 60;
const WIDTH = 120;
const HEIGHT = 28;

export class Sparkline {
  #values = [];

  constructor(name) {
    this.name = name;
    this.element = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "sparkline", role: "img", "aria-label": `${name}, nothing yet` });
  }

  add(value) {
    this.#values = [...this.#values, value].slice(-KEPT);
    const highest = Math.max(1, ...this.#values);
    const points = this.#values.map((one, at) => `${((at * WIDTH) / (KEPT - 1)).toFixed(1)} ${(HEIGHT - 2 - ((HEIGHT - 4) * one) / highest).toFixed(1)}`);
    replace(this.element, svg("path", { d: `M${points.join("L")}` }));
    this.element.setAttribute("aria-label", `${this.name}: now ${value.toFixed(1)}, at most ${Math.max(...this.#values).toFixed(1)} lately`);
  }
}
