// Models.

import { h } from "/web/dom.js";

export const title = "Models";
export const needs = ["GET /models"];

export function create() {
  return { element: h("section", { class: "stack" }, h("h1", {}, title)) };
}
