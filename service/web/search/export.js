// A search as a file: CSV for a table, JSON with all that was asked and answered.

import { downloadCsv, downloadJson, stamp } from "/web/download.js";

const COLUMNS = ["rank", "passes", "entry_id", "person_id", "camera_id", "modality", "captured_at", "similarity", "probability"];

export function exportCsv({ answer, beyond }, session) {
  const about = ["query_id", "model_id", "searched_by"];
  const passed = answer.matches.map((match) => ({ ...match, passes: "true" }));
  const others = beyond.map((match) => ({ ...match, passes: "false", rank: null }));
  const rows = [...passed, ...others].map((match) => [
    ...COLUMNS.map((name) => match[name]), answer.query_id, answer.model_id, session.name,
  ]);
  downloadCsv(`search-${stamp()}.csv`, [...COLUMNS, ...about], rows);
}

export function exportJson({ answer, beyond, fields, rate, files, at }, session) {
  downloadJson(`search-${stamp()}.json`, {
    searched_at: at,
    searched_by: session.name,
    crops: files.map(({ name, size, type }) => ({ name, size, type })),
    query: { ...fields, max_false_accept_rate: rate === "" ? null : Number(rate) },
    answer,
    beyond: beyond.map(({ beyond: _, ...match }) => match),
  });
}
