// Dialogs: the browser's own, which keep the focus inside and give it back.

import { button, field, freshId, h } from "/web/dom.js";

// Open a dialog. `body` is a node; `actions` are buttons, beside the one that closes it. Returns
// { close }; `onClose` is called once, however it was closed.
export function openDialog({ title, body, actions = [], wide = false, onClose = () => {} }) {
  const titleId = freshId("dialog");
  const dialog = h("dialog", { class: wide ? "wide" : "", "aria-labelledby": titleId });
  const close = () => dialog.close();
  dialog.append(
    h("div", { class: "dialog-head" },
      h("h2", { id: titleId }, title),
      button("Close", close, { kind: "quiet" })),
    body,
    actions.length > 0 ? h("div", { class: "actions" }, actions) : "");
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose();
  });
  document.body.append(dialog);
  dialog.showModal();
  return { close };
}

// Ask before something is done that cannot be undone; resolves to whether it was agreed to. With
// `typed`, that text must be typed first.
export function confirmed({ title, text, action, danger = true, typed = null }) {
  return new Promise((resolve) => {
    let agreed = false;
    const agree = button(action, () => {
      agreed = true;
      close();
    }, { kind: danger ? "danger" : "primary", disabled: typed !== null });
    const input = typed !== null && h("input", {
      type: "text", autocomplete: "off", spellcheck: "false",
      on: { input: () => { agree.disabled = input.value.trim() !== typed; } },
    });
    const { close } = openDialog({
      title,
      body: h("div", { class: "stack" }, h("p", {}, text), input && field(`Type ${typed} to go on`, input)),
      actions: [agree, button("Cancel", () => close())],
      onClose: () => resolve(agreed),
    });
  });
}
