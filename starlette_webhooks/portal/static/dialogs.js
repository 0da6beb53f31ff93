// Dialogs: the browser's own <dialog>, which keeps the focus inside and closes on Escape.

import { h, uid } from "./dom.js";
import { busy, button, iconButton } from "./ui.js";

/** Show a dialog; `className` "sheet" makes it a panel at the side. Resolves when it is closed. */
export function open(title, { className = "", describe = null } = {}, ...children) {
  const id = uid("dialog");
  const close = iconButton("Close", "close", () => made.close());
  const head = h("div", { class: "dialog-head" }, h("div", {}, h("h2", { id }, title), describe), close);
  const body = h("div", { class: "dialog-body" }, children);
  const made = h("dialog", { class: `dialog ${className}`, "aria-labelledby": id }, head, body);
  made.body = body;
  made.closed = new Promise((resolve) => {
    made.addEventListener("close", () => {
      rescueToasts(made);
      made.remove();
      resolve(made.returnValue);
    });
  });
  made.addEventListener("click", (event) => {
    if (event.target === made) made.close();
  });
  document.body.append(made);
  made.showModal();
  return made;
}

function rescueToasts(dialog) {
  const host = dialog.querySelector("#toasts");
  if (host) document.body.append(host);
}

/** Ask for confirmation. `action` runs while the dialog is open, and errors appear in it. Resolves to whether it was done. */
export async function confirm({ title, text, label, danger = false, action }) {
  const error = h("p", { class: "field-error", role: "alert" });
  const cancel = button("Cancel", { action: () => made.close() });
  const go = button(label, { kind: danger ? "danger" : "primary" });
  let done = false;
  const made = open(title, { className: "narrow" }, h("div", { class: "prose" }, text), error, h("div", { class: "dialog-foot" }, cancel, go));
  go.addEventListener("click", () =>
    busy(go, async () => {
      error.textContent = "";
      try {
        await action();
        done = true;
        made.close();
      } catch (problem) {
        error.textContent = problem.message;
      }
    }),
  );
  (danger ? cancel : go).focus();
  await made.closed;
  return done;
}
