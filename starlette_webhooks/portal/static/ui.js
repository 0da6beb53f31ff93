// The building blocks of pages.

import { fill, h, uid } from "./dom.js";
import { icon } from "./icons.js";
import { code, json, pretty } from "./highlight.js";
import { size } from "./format.js";

const MAX_SHOWN = 100_000;

/** A button. `kind` is primary, plain, ghost or danger. It cannot be pressed again while its action runs. */
export function button(label, { kind = "plain", glyph, action, small, ...rest } = {}) {
  const made = h(
    "button",
    { type: "button", class: `button ${kind}${small ? " small" : ""}`, ...rest },
    glyph && icon(glyph),
    h("span", {}, label),
  );
  if (action) made.addEventListener("click", () => busy(made, () => action(made)));
  return made;
}

/** Run an action while a button shows that it is busy. Errors appear in a toast. */
export async function busy(element, action) {
  if (element.getAttribute("aria-busy") === "true") return;
  element.setAttribute("aria-busy", "true");
  try {
    await action();
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message, "bad");
  } finally {
    element.removeAttribute("aria-busy");
  }
}

/** A link that looks like a button. */
export function linkButton(label, href, { kind = "plain", glyph, small } = {}) {
  return h("a", { class: `button ${kind}${small ? " small" : ""}`, href }, glyph && icon(glyph), h("span", {}, label));
}

/** A link of a row that shows something in place. A new tab shows its own address. */
export function rowLink(href, { className = "", show = null } = {}, ...children) {
  const made = h("a", { class: `cover ${className}`, href, draggable: "false" }, children);
  if (show) {
    made.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      show();
    });
  }
  return made;
}

/** An id in a row: selectable, with a button that copies it. */
export function rowId(id, what) {
  return h("span", { class: "row-id" }, h("span", { class: "mono faint break" }, id), copyButton(id, `Copy ${what}`));
}

/** A button with an icon only; its label is for screen readers and on hover. */
export function iconButton(label, glyph, action) {
  const made = h("button", { type: "button", class: "icon-button", "aria-label": label, title: label }, icon(glyph));
  made.addEventListener("click", () => busy(made, () => action(made)));
  return made;
}

/** A status in one word. `kind` is good, bad, warn or quiet. */
export function pill(kind, label, title = undefined) {
  return h("span", { class: `pill ${kind}`, title }, label);
}

/** A button that puts text on the clipboard and says so. `text` may be a function, async too. */
export function copyButton(text, label = "Copy") {
  const made = iconButton(label, "copy", async () => {
    await copy(typeof text === "function" ? await text() : text);
    fill(made, icon("check"));
    made.classList.add("done");
    announce("Copied");
    setTimeout(() => {
      fill(made, icon("copy"));
      made.classList.remove("done");
    }, 1600);
  });
  return made;
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Pages that are not served over HTTPS have no clipboard API.
  const area = h("textarea", { class: "visually-hidden", value: text });
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** A block of code that can be copied. JSON is formatted and highlighted; very long text is cut until requested. */
export function codeBlock(value, { language = "json", label = "Code", title = null } = {}) {
  const full = language === "json" ? pretty(value) : String(value);
  const paint = language === "json" ? json : language === "text" ? (text) => [text] : code;
  const cut = full.length > MAX_SHOWN;
  const body = h("pre", { class: "code-text", tabindex: "0", role: "group", "aria-label": label });
  fill(body, paint(cut ? full.slice(0, MAX_SHOWN) : full));
  const head = h("div", { class: "code-head" }, h("span", {}, title ?? label), copyButton(full, `Copy ${label.toLowerCase()}`));
  const block = h("div", { class: "code" }, head, body);
  if (cut) {
    const more = button(`Show all ${size(full)}`, { small: true });
    const foot = h("div", { class: "code-foot" }, h("span", {}, "Only the start is shown."), more);
    more.addEventListener("click", () => {
      fill(body, full);
      foot.remove();
    });
    block.append(foot);
  }
  return block;
}

/** Tabs: `[[label, make], ...]`. A tab's content is made when it is first shown. Arrow keys move between tabs. */
export function tabs(label, entries) {
  const panel = h("div", { class: "tab-panel", role: "tabpanel", id: uid("panel"), tabindex: "-1" });
  const heads = entries.map(([name], index) =>
    h(
      "button",
      { type: "button", class: "tab", role: "tab", id: uid("tab"), "aria-controls": panel.id, on: { click: () => show(index) } },
      name,
    ),
  );
  const made = [];
  const show = (index) => {
    heads.forEach((head, position) => {
      head.setAttribute("aria-selected", String(position === index));
      head.tabIndex = position === index ? 0 : -1;
    });
    made[index] ??= entries[index][1]();
    panel.setAttribute("aria-labelledby", heads[index].id);
    fill(panel, made[index]);
  };
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": label }, heads);
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    const next = (heads.indexOf(document.activeElement) + step + heads.length) % heads.length;
    show(next);
    heads[next].focus();
  });
  show(0);
  return h("div", { class: "tab-group" }, list, panel);
}

/** The placeholder for an empty list. */
export function empty({ glyph = "inbox", title, text, action = null }) {
  return h(
    "div",
    { class: "blank" },
    h("div", { class: "blank-icon" }, icon(glyph)),
    h("h2", {}, title),
    h("p", {}, text),
    action && h("div", { class: "actions" }, action),
  );
}

/** The placeholder for content that failed to load. */
export function failure(error, retry) {
  const missing = error.status === 404;
  return h(
    "div",
    { class: "blank", role: "alert" },
    h("div", { class: "blank-icon bad" }, icon(missing ? "search" : "warning")),
    h("h2", {}, missing ? "Not found" : error.status === 0 ? "Connection lost" : "Loading failed"),
    h("p", {}, missing ? "It may have been deleted, or it is no longer stored." : error.message),
    h("div", { class: "actions" }, missing ? null : button("Try again", { glyph: "rotate", action: retry })),
  );
}

/** Grey bars in the shape of what is coming. */
export function skeleton(rows = 4) {
  const lines = Array.from({ length: rows }, (_, index) =>
    h("div", { class: "skeleton-row" }, h("i", { class: `w${index % 3}` }), h("i", { class: "w3" }), h("i", { class: "w4" })),
  );
  return h("div", { class: "skeleton", role: "status", "aria-label": "Loading" }, lines);
}

/** A note within a page. `kind` is info, warn, bad or good. */
export function notice(kind, ...children) {
  const glyph = { info: "key", good: "check", warn: "warning", bad: "warning" }[kind];
  return h("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : null }, icon(glyph), h("div", {}, children));
}

/** A panel with a heading. */
export function card(title, { actions = [], className = "", note = null } = {}, ...children) {
  const id = uid("card");
  const head =
    title &&
    h(
      "div",
      { class: "card-head" },
      h("div", { class: "card-line" }, h("h2", { id }, title), h("div", { class: "actions" }, actions)),
      note && h("p", { class: "note" }, note),
    );
  return h("section", { class: `card ${className}`, "aria-labelledby": title ? id : null }, head, children);
}

/** Names and values. */
export function facts(...pairs) {
  const shown = pairs.filter((pair) => pair);
  return h("dl", { class: "facts" }, shown.map(([name, ...value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** Show a message that disappears by itself. */
export function toast(message, kind = "good") {
  const made = h("div", { class: `toast ${kind}` }, icon(kind === "good" ? "check" : "warning"), h("span", {}, message));
  const host = document.getElementById("toasts");
  // A modal dialog covers everything else, so the words go into it.
  (document.querySelector("dialog[open]") ?? document.body).append(host);
  host.append(made);
  setTimeout(() => made.remove(), kind === "good" ? 4000 : 8000);
}

/** Announce something to screen readers only. */
export function announce(message) {
  document.getElementById("announcer").textContent = message;
}
