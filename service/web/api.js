// The service's HTTP API as the page uses it: the key, errors, waiting, and what "down" means.

const KEY = "mpanet-key";
const READ_TIMEOUT_MS = 20_000;
const WRITE_TIMEOUT_MS = 120_000;
const SLOW_MS = 3_000;
const MAX_TRIES = 4;
const MAX_WAIT_S = 10;
const AGAIN = new Set([429, 503]);

// A refusal of the service; `status` 0: nobody answered.
export class ApiError extends Error {
  constructor({ status = 0, code = "unreachable", title = "The service does not answer", detail, requestId = null, problem = {} }) {
    super(detail ?? title);
    Object.assign(this, { status, code, title, detail: detail ?? title, requestId, problem });
  }
}

// Calls the API. `onState` is told "ok", "slow" or "down" as that changes; `onKeyRefused` when a
// request needs another key.
export class Api {
  #key = sessionStorage.getItem(KEY);
  #state = "ok";

  constructor({ onState = () => {}, onKeyRefused = () => {} } = {}) {
    this.onState = onState;
    this.onKeyRefused = onKeyRefused;
  }

  get hasKey() {
    return this.#key !== null;
  }

  // Keep a key for this tab; null forgets it.
  setKey(key) {
    this.#key = key;
    if (key === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, key);
  }

  async get(path, params = {}, options = {}) {
    return (await this.#call("GET", withQuery(path, params), options)).json();
  }

  async text(path) {
    return (await this.#call("GET", path, {})).text();
  }

  async blob(path) {
    return (await this.#call("GET", path, {})).blob();
  }

  // Send JSON; null for no body.
  async json(method, path, body = null) {
    const headers = body === null ? {} : { "Content-Type": "application/json" };
    const sent = body === null ? undefined : JSON.stringify(body);
    return parsed(await this.#call(method, path, { headers, body: sent }));
  }

  async remove(path) {
    return parsed(await this.#call("DELETE", path, {}));
  }

  // Send a form. It is sent again when the service says so, if it may be: with an `idempotencyKey`, or
  // where nothing is changed (`repeatable`).
  async form(method, path, form, { signal, timeoutMs, idempotencyKey = null, repeatable = idempotencyKey !== null } = {}) {
    const headers = idempotencyKey === null ? {} : { "Idempotency-Key": idempotencyKey };
    return parsed(await this.#call(method, path, { headers, body: form, signal, repeatable, timeoutMs }));
  }

  // Follow server-sent events until they end: `onEvent(name, data)`.
  async events(path, onEvent, signal) {
    const answer = await this.#call("GET", path, { signal, headers: { Accept: "text/event-stream" }, endless: true });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    signal?.addEventListener("abort", () => reader.cancel(), { once: true });
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value.replaceAll("\r", "");
      let end = text.indexOf("\n\n");
      for (; end >= 0; end = text.indexOf("\n\n")) {
        tell(text.slice(0, end), onEvent);
        text = text.slice(end + 2);
      }
    }
  }

  async #call(method, url, { repeatable = method === "GET", ...request }) {
    for (let tries = 1; ; tries += 1) {
      const key = this.#key;
      const answer = await this.#once(method, url, request);
      if (answer.ok) return answer;
      const error = await problemOf(answer);
      if (error.status === 401 && key === this.#key) this.onKeyRefused(error);
      const wait = Number(answer.headers.get("Retry-After") ?? NaN);
      if (!repeatable || !AGAIN.has(error.status) || !(wait <= MAX_WAIT_S) || tries === MAX_TRIES) throw error;
      await pause(1000 * wait, request.signal);
    }
  }

  async #once(method, url, { headers = {}, body, signal, timeoutMs, endless = false }) {
    const limit = timeoutMs ?? (method === "GET" ? READ_TIMEOUT_MS : WRITE_TIMEOUT_MS);
    const stop = new AbortController();
    const abort = () => stop.abort(signal.reason);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    let timedOut = false;
    const timer = setTimeout(() => { timedOut = true; stop.abort(); }, limit);
    const slow = method === "GET" ? setTimeout(() => this.#slow(), SLOW_MS) : null;
    try {
      const key = this.#key === null ? {} : { Authorization: `Bearer ${this.#key}` };
      const answer = await fetch(url, {
        method, body, headers: { ...headers, ...key }, signal: stop.signal, cache: "no-store", credentials: "omit",
      });
      this.#tell("ok");
      if (answer.ok && !endless) return await whole(answer);
      return answer;
    } catch (error) {
      if (signal?.aborted) throw error;
      this.#tell("down");
      const detail = timedOut
        ? `No answer to ${method} ${url.split("?")[0]} within ${limit / 1000} seconds.`
        : "The connection failed: the service may be stopped, or the network down.";
      throw new ApiError({ detail });
    } finally {
      clearTimeout(timer);
      clearTimeout(slow);
      signal?.removeEventListener("abort", abort);
    }
  }

  #slow() {
    if (this.#state === "ok") this.#tell("slow");
  }

  #tell(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.onState(state);
  }
}

// Read an answer to its end, so that a body that stops half-way is an error of the call.
async function whole(answer) {
  const body = await answer.blob();
  return new Response(answer.status === 204 ? null : body, { status: answer.status, headers: answer.headers });
}

async function parsed(answer) {
  if (answer.status === 204) return null;
  return (answer.headers.get("Content-Type") ?? "").includes("json") ? answer.json() : answer.text();
}

async function problemOf(answer) {
  let problem = {};
  try {
    problem = await answer.json();
  } catch {
    // something between the page and the service answered
  }
  return new ApiError({
    status: answer.status,
    code: problem.code ?? "no_problem",
    title: problem.title ?? `The service answered ${answer.status}`,
    detail: detailOf(problem) ?? `Status ${answer.status}, without a reason.`,
    requestId: problem.request_id ?? answer.headers.get("X-Request-Id"),
    problem,
  });
}

function detailOf(problem) {
  const fields = (problem.errors ?? []).map(({ field, expected, came }) => `${field}: expected ${expected}, came ${came}`);
  return fields.length > 0 ? fields.join("; ") : problem.detail;
}

// A path with a query string; null and empty values are left out, arrays are repeated.
export function withQuery(path, params) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") query.append(name, one);
    }
  }
  return query.size > 0 ? `${path}?${query}` : path;
}

function tell(block, onEvent) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5).trim());
  }
  if (data.length > 0) onEvent(name, JSON.parse(data.join("\n")));
}

// Resolve after so many milliseconds; rejects when the signal aborts.
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
