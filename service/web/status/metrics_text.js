// The text format of Prometheus, as far as this service writes it.
// Source: Prometheus, exposition formats, text format 0.0.4.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { n: "\n", "\\": "\\", '"': '"' };

// The samples of one answer.
export class Metrics {
  #samples = new Map();

  constructor(text, at = performance.now()) {
    this.at = at;
    for (const line of text.split("\n")) {
      const found = LINE.exec(line);
      if (found === null) continue;
      const [, name, labels = "", value] = found;
      if (!this.#samples.has(name)) this.#samples.set(name, []);
      this.#samples.get(name).push({ labels: labelsOf(labels), value: Number(value) });
    }
  }

  // The samples of a name: [{ labels, value }].
  all(name) {
    return this.#samples.get(name) ?? [];
  }

  // The sum of the samples of a name whose labels pass; null where there is none.
  sum(name, passes = () => true) {
    const some = this.all(name).filter(({ labels }) => passes(labels));
    return some.length === 0 ? null : some.reduce((sum, { value }) => sum + value, 0);
  }
}

// How much a counter grew a second between two answers; null where that is not known, or it began anew.
export function rate(before, now, name, passes) {
  const [was, is] = [before?.sum(name, passes) ?? null, now.sum(name, passes)];
  if (was === null || is === null || is < was) return null;
  return (1000 * (is - was)) / Math.max(1, now.at - before.at);
}

// A quantile of what a histogram took in between two answers, in its unit; null where nothing was.
export function quantile(before, now, name, share, passes = () => true) {
  const grown = new Map();
  for (const [metrics, sign] of [[now, 1], [before, -1]]) {
    for (const { labels, value } of metrics?.all(`${name}_bucket`) ?? []) {
      if (passes(labels)) grown.set(labels.le, (grown.get(labels.le) ?? 0) + sign * value);
    }
  }
  const buckets = [...grown].map(([le, count]) => [le === "+Inf" ? Infinity : Number(le), count]).sort((one, other) => one[0] - other[0]);
  const total = buckets.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  let low = 0;
  let below = 0;
  for (const [le, count] of buckets) {
    if (count >= share * total) {
      return le === Infinity ? low : low + (le - low) * ((share * total - below) / Math.max(1e-9, count - below));
    }
    [low, below] = [le, count];
  }
  return low;
}

function labelsOf(text) {
  return Object.fromEntries([...text.matchAll(LABEL)].map(([, name, value]) => [name, value.replace(/\\(.)/g, (_, one) => ESCAPES[one] ?? one)]));
}
