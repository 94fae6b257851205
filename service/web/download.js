// Files that the page makes: CSV that a spreadsheet takes for text, and JSON.

import { h } from "/web/dom.js";

const FORMULA = /^[=+\-@\t\r]/;

// Hand a text to the browser as a file.
function download(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = h("a", { href: address, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

export function downloadJson(name, value) {
  download(name, `${JSON.stringify(value, null, 2)}\n`, "application/json");
}

// `columns`: names; `rows`: arrays of values, null an empty cell.
export function downloadCsv(name, columns, rows) {
  download(name, csvOf(columns, rows), "text/csv;charset=utf-8");
}

// CSV as RFC 4180 has it. A text that a spreadsheet would calculate gets an apostrophe before it;
// numbers stay numbers.
function csvOf(columns, rows) {
  return [columns, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = String(value);
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// The moment, for the name of a file: 2026-11-25T12-30-05.
export function stamp() {
  return new Date().toISOString().slice(0, 19).replaceAll(":", "-");
}
