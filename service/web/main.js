// The shell: the key, the views that a role may see, which one is shown, and outages.

import { Api, ApiError } from "/web/api.js";
import { Crops } from "/web/crop_image.js";
import { button, errorNotice, field, h, notice, replace } from "/web/dom.js";

const VIEWS = ["search", "gallery", "models", "status", "audit"];
const TOAST_MS = 6_000;
const OUTAGE = {
  down: "The service does not answer. What is shown may be old; it is tried again.",
  slow: "The service is slow to answer.",
  ok: "",
};
const RETRY_MS = 3_000;

const tabs = document.querySelector("#tabs");
const main = document.querySelector("#view");
const who = document.querySelector("#who");
const outage = document.querySelector("#outage");
const toasts = document.querySelector("#toasts");

const api = new Api({ onState: showState, onKeyRefused: askForKey });
let views = new Map();
let shown = null;

start();

async function start() {
  replace(main, notice("", "Loading ..."));
  replace(tabs);
  replace(who);
  let me;
  try {
    me = await api.get("/whoami");
  } catch (error) {
    if (error.status !== 401) replace(main, errorNotice(error, button("Try again", start)));
    return;
  }
  const app = { api, session: sessionOf(me), crops: new Crops(api), announce, go };
  await makeViews(app);
  showWho(app.session);
  show();
}

function sessionOf({ name, roles, keys, calls }) {
  const open = new Set(calls);
  return { name, roles, keys, may: (...wanted) => wanted.every((call) => open.has(call)) };
}

async function makeViews(app) {
  const modules = await Promise.all(VIEWS.map((name) => import(`/web/${name}/view.js`)));
  views = new Map();
  shown = null;
  modules.forEach((module, at) => {
    if (app.session.may(...module.needs)) views.set(VIEWS[at], { title: module.title, made: null, make: () => module.create(app) });
  });
  replace(tabs, [...views].map(([name, { title }]) => h("a", { href: `#/${name}`, dataset: { view: name } }, title)));
}

// Show what the address names, or the first view there is.
function show() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const name = views.has(path) ? path : views.keys().next().value;
  if (name === undefined) {
    replace(main, notice("warn", "Nothing to show", "This key has no role that this page has a view for."));
    return;
  }
  const view = views.get(name);
  view.made ??= view.make();
  if (shown !== view) {
    shown?.made.hidden?.();
    replace(main, view.made.element);
    shown = view;
  }
  document.title = `${view.title} - MPANet`;
  for (const tab of tabs.children) {
    if (tab.dataset.view === name) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  view.made.shown?.(new URLSearchParams(query ?? ""));
}

function go(hash) {
  location.hash = hash;
}

function showWho(session) {
  const name = h("span", {}, session.keys ? `${session.name} (${session.roles.join(", ")})` : "no keys");
  replace(who, name, session.keys && button("Forget key", forgetKey, { kind: "quiet" }));
}

function forgetKey() {
  api.setKey(null);
  shown?.made.hidden?.();
  start();
}

// Ask for the key: at the start of a tab, and when the one it has is refused.
function askForKey(error) {
  if (document.querySelector("#key-form")) return;
  closeDialogs();
  shown?.made.hidden?.();
  shown = null;
  views = new Map();
  replace(tabs);
  replace(who);
  const input = h("input", { type: "password", required: true, autocomplete: "off", spellcheck: "false" });
  const refused = api.hasKey && notice("error", "This key was refused", error.detail);
  api.setKey(null);
  const form = h("form", {
    id: "key-form", class: "card stack key",
    on: {
      submit: (event) => {
        event.preventDefault();
        api.setKey(input.value.trim());
        start();
      },
    },
  },
  h("h1", {}, "API key"),
  refused,
  field("Key", input, "It is kept until this tab is closed, and nowhere else."),
  h("div", {}, h("button", { class: "button primary", type: "submit" }, "Go on")));
  replace(main, form);
  input.focus();
}

function showState(state) {
  outage.className = `outage ${state}`;
  replace(outage, OUTAGE[state]);
  if (state === "down") setTimeout(lookAgain, RETRY_MS);
}

// While nobody answers, ask now and then; the first answer ends the outage.
async function lookAgain() {
  try {
    await api.text("/healthz");
  } catch (error) {
    if (error instanceof ApiError && error.status === 0) setTimeout(lookAgain, RETRY_MS);
  }
}

// Say something that needs no answer.
function announce(text, kind = "info") {
  const toast = h("p", { class: `toast ${kind}` }, text);
  toasts.append(toast);
  setTimeout(() => toast.remove(), TOAST_MS);
}

function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}

window.addEventListener("hashchange", () => {
  closeDialogs();
  if (views.size > 0) show();
});
