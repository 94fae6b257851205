// Gallery: browse, enrol, correct, erase.

import { h } from "/web/dom.js";

export const title = "Gallery";
export const needs = ["GET /gallery"];

export function create() {
  return { element: h("section", { class: "stack" }, h("h1", {}, title)) };
}
