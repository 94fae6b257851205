// Search.

import { h } from "/web/dom.js";

export const title = "Search";
export const needs = ["POST /query"];

export function create() {
  return { element: h("section", { class: "stack" }, h("h1", {}, title)) };
}
