// Status.

import { h } from "/web/dom.js";

export const title = "Status";
export const needs = ["GET /metrics"];

export function create() {
  return { element: h("section", { class: "stack" }, h("h1", {}, title)) };
}
