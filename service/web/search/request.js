// A search: one query, and a second one for what lies beyond the rate that was asked for.

import { pairOf } from "/web/format.js";

const OPTIONAL = ["person_id", "camera_id", "exclude_camera_id", "captured_after", "captured_before"];

// Search. `fields`: of the form, names as the API has them; `rate`: "" for none. Resolves to
// { answer, beyond, fields, rate, files, at }: `beyond` are matches less alike than the rate demands.
export async function search(api, files, fields, rate, signal) {
  const answer = await asked(api, files, fields, rate, signal);
  let beyond = [];
  if (rate !== "" && answer.matches.length < Number(fields.top_k)) {
    const every = await asked(api, files, fields, "", signal);
    const passed = new Set(answer.matches.map((match) => match.entry_id));
    beyond = every.model_id === answer.model_id
      ? every.matches.filter((match) => !passed.has(match.entry_id) && isBelow(match, fields.modality, answer.thresholds))
        .map((match) => ({ ...match, beyond: true }))
      : [];
  }
  return { answer, beyond, fields, rate, files, at: new Date().toISOString() };
}

// Whether a match is less alike than its threshold: an entry enrolled between two queries may not be.
function isBelow(match, modality, thresholds) {
  return match.similarity < (thresholds?.[pairOf(modality, match.modality)] ?? Infinity);
}

function asked(api, files, fields, rate, signal) {
  const form = new FormData();
  for (const file of files) form.append("file", file, file.name || "pasted");
  for (const name of ["modality", "target_modality", "top_k", "group_by", "rerank"]) form.append(name, fields[name]);
  for (const name of OPTIONAL) {
    for (const value of [fields[name] ?? []].flat()) form.append(name, value);
  }
  form.append("explain", "true");
  if (rate !== "") form.append("max_false_accept_rate", rate);
  return api.form("POST", "/query", form, { signal, repeatable: true });
}
