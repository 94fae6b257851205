// Elements made of text and attributes alone: nothing a server says is ever read as markup.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "multiple"]);

// Make an element. `props`: `on` has listeners, `dataset` data attributes, `style` computed values;
// null and undefined are left out. Children: nodes, text, arrays of them; null and false are skipped.
export function h(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

// The same for a drawing.
export function svg(tag, props = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "dataset") {
      Object.assign(element.dataset, value);
    } else if (name === "style") {
      for (const [property, to] of Object.entries(value)) element.style.setProperty(property, to);
    } else if (PROPERTIES.has(name)) {
      element[name] = value;
    } else if (value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...nodes(children));
  return element;
}

// Put other children in the place of those that are there.
export function replace(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

let last = 0;

// An id that nothing else on the page has.
export function freshId(prefix = "id") {
  last += 1;
  return `${prefix}-${last}`;
}

// A form field: its label, the input, and a hint if there is one.
export function field(label, input, hint = null) {
  input.id ||= freshId("field");
  const hintId = hint && `${input.id}-hint`;
  if (hintId) input.setAttribute("aria-describedby", hintId);
  return h("div", { class: "field" },
    h("label", { for: input.id }, label),
    input,
    hint && h("p", { class: "hint", id: hintId }, hint));
}

// A line of text; browsers and spelling have nothing to add to ids.
export function textInput(placeholder = null) {
  return h("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder });
}

// A moment in the browser's time zone.
export function timeInput(value = "") {
  return h("input", { type: "datetime-local", step: "1", value });
}

// Names and what they are: [name, node or text] pairs.
export function factList(rows) {
  return h("dl", { class: "facts" }, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

// Something wide that scrolls by itself, by keyboard too.
export function scrollable(label, ...children) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, children);
}

// An input of files behind a label that says what to choose; `onFiles(files)`.
export function filePicker({ accept, onFiles }, ...words) {
  const input = h("input", {
    type: "file", id: freshId("files"), accept, multiple: true, class: "visually-hidden",
    on: { change: () => { onFiles([...input.files]); input.value = ""; } },
  });
  return h("div", { class: "drop-around" }, input, h("label", { class: "drop", for: input.id }, words));
}

// A group of choices of which one is taken. `choices`: [value, label] pairs.
export function choice(legend, name, choices, chosen, onChange = () => {}) {
  const radios = choices.map(([value, label]) => {
    const id = freshId(name);
    return [
      h("input", { type: "radio", name, id, value, checked: value === chosen, on: { change: () => onChange(value) } }),
      h("label", { for: id, dataset: { value } }, label),
    ];
  });
  const group = h("fieldset", { class: "choice" }, h("legend", {}, legend), h("div", { class: "segments" }, radios));
  return {
    element: group,
    get value() { return group.querySelector("input:checked")?.value ?? null; },
    set value(value) {
      for (const radio of group.querySelectorAll("input")) radio.checked = radio.value === value;
    },
  };
}

// What is said where there is nothing to show, or something went wrong.
export function notice(kind, title, detail = null, ...actions) {
  return h("div", { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status" },
    h("p", { class: "notice-title" }, title), detail && h("p", {}, detail),
    actions.length > 0 && h("p", { class: "actions" }, actions));
}

// A notice of an error of the API, with what an administrator needs to find it.
export function errorNotice(error, ...actions) {
  return notice("error", error.title ?? "Something went wrong", errorText(error), ...actions);
}

// An error in one sentence, with the id under which the service's log has it.
export function errorText(error) {
  const id = error.requestId ? ` (request ${error.requestId})` : "";
  return `${error.detail ?? error.message}${id}`;
}

export function button(label, onClick, { kind = "", ...props } = {}) {
  return h("button", { type: "button", class: `button ${kind}`.trim(), on: { click: onClick }, ...props }, label);
}
