// Numbers and times as people read them. Text alone; null is a dash.

const DASH = "–";

// A count: 12,345.
export function count(value) {
  return value === null || value === undefined ? DASH : Number(value).toLocaleString("en");
}

// A similarity, -1 to 1: three digits after the point.
export function similarity(value) {
  return value === null || value === undefined ? DASH : Number(value).toFixed(3);
}

// A probability as a percentage that never claims certainty.
export function probability(value) {
  if (value === null || value === undefined) return DASH;
  if (value >= 0.999) return "> 99.9 %";
  if (value < 0.001) return "< 0.1 %";
  return `${(100 * value).toFixed(1)} %`;
}

// A rate such as 0.001: "1 in 1,000".
export function oneIn(rate) {
  return rate > 0 ? `1 in ${count(Math.round(1 / rate))}` : DASH;
}

// A time of the API, in the browser's zone, with its offset.
export function time(value) {
  if (!value) return DASH;
  const at = new Date(value);
  return Number.isNaN(at.getTime()) ? String(value) : at.toLocaleString(undefined, {
    year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit",
    second: "2-digit", timeZoneName: "short",
  });
}

// Seconds as a duration: "3 min 20 s".
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return DASH;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

export function bytes(value) {
  if (value === null || value === undefined) return DASH;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let size = value;
  while (size >= 1024 && at < units.length - 1) {
    size /= 1024;
    at += 1;
  }
  return `${at === 0 ? size : size.toFixed(1)} ${units[at]}`;
}

// The value of an input of type datetime-local as a time of the API, or null.
export function fromLocal(value) {
  if (!value) return null;
  const at = new Date(value);
  return Number.isNaN(at.getTime()) ? null : at.toISOString();
}

// A time of the API as an input of type datetime-local has it; "" for none.
export function toLocal(value) {
  const at = new Date(value ?? NaN);
  if (Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - 60_000 * at.getTimezoneOffset()).toISOString().slice(0, 19);
}

// Names that were written with commas between them.
export function namesOf(text) {
  return text.split(",").map((name) => name.trim()).filter((name) => name !== "");
}

// The modalities, as the API and as people name them.
export const LIGHTS = [["visible", "Visible light"], ["infrared", "Infrared"]];

// A pair of modalities, as calibrations name it.
export function pairOf(one, other) {
  return [one, other].sort().join("-");
}
