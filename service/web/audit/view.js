// Audit.

import { h } from "/web/dom.js";

export const title = "Audit";
export const needs = ["GET /audit"];

export function create() {
  return { element: h("section", { class: "stack" }, h("h1", {}, title)) };
}
