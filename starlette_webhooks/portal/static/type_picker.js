// Selecting event types from the catalog, by category and with search.

import { fill, h, uid } from "./dom.js";
import { byCategory, problemOf } from "./forms.js";
import { count } from "./format.js";
import { icon } from "./icons.js";

/** `{element, value(), problem(), report(words)}`; no names mean all events. */
export function typePicker(catalog, chosen) {
  const picked = new Set(chosen);
  const name = uid("which");
  const all = h("input", { type: "radio", name, checked: chosen.length === 0 });
  const some = h("input", { type: "radio", name, checked: chosen.length > 0 });
  const search = h("input", { class: "input", type: "search", placeholder: "Search events", "aria-label": "Search events", autocomplete: "off" });
  const total = h("span", { class: "note", role: "status" });
  const nothing = h("p", { class: "note", hidden: true }, "No event types match.");
  const known = new Set(catalog.map((type) => type.name));
  const retired = chosen.filter((one) => !known.has(one)).map((one) => ({ name: one, label: one, description: "", category: "No longer in the catalog" }));
  const tell = () => fill(total, `${count(picked.size, "event type")} selected`);
  const groups = byCategory([...catalog, ...retired]).map(([title, types]) => group(title, types, picked, tell));
  const panel = h(
    "div",
    { class: "picker" },
    h("div", { class: "picker-tools" }, h("div", { class: "search" }, icon("search"), search), total),
    h("div", { class: "picker-list" }, groups.map((one) => one.element), nothing),
  );
  const toggle = () => (panel.hidden = all.checked);
  all.addEventListener("change", toggle);
  some.addEventListener("change", toggle);
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    nothing.hidden = groups.map((one) => one.filter(words)).some(Boolean);
  });
  // Enter searches instead of submitting the form.
  search.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  toggle();
  tell();
  const problem = problemOf(some);
  const element = h(
    "div",
    {},
    h(
      "div",
      { class: "choices", role: "radiogroup", "aria-label": "Which events" },
      h("label", { class: "choice" }, all, h("span", {}, h("strong", {}, "All events"), h("small", {}, "Including event types that are added later."))),
      h("label", { class: "choice" }, some, h("span", {}, h("strong", {}, "Selected events"), h("small", {}, "Only the event types that you select."))),
    ),
    panel,
    problem.element,
  );
  return {
    element,
    report: problem.report,
    value: () => (all.checked ? [] : [...picked]),
    problem: () => (some.checked && picked.size === 0 ? "Select at least one event type, or choose all events." : null),
  };
}

function group(title, types, picked, tell) {
  const boxes = types.map((type) => {
    const box = h("input", { type: "checkbox", checked: picked.has(type.name) });
    box.addEventListener("change", () => {
      if (box.checked) picked.add(type.name);
      else picked.delete(type.name);
      refresh();
    });
    const words = h("span", {}, h("span", { class: "type-label" }, type.label || type.name), h("code", {}, type.name), type.description && h("small", {}, type.description));
    const label = h("label", { class: "check" }, box, words);
    return { type, box, label, text: `${type.name} ${type.label} ${type.description} ${title}`.toLowerCase() };
  });
  const head = h("input", { type: "checkbox" });
  const refresh = () => {
    const checked = boxes.filter((one) => one.box.checked).length;
    head.checked = checked === boxes.length;
    head.indeterminate = checked > 0 && checked < boxes.length;
    tell();
  };
  head.addEventListener("change", () => {
    for (const one of boxes.filter((shown) => !shown.label.hidden)) {
      one.box.checked = head.checked;
      if (head.checked) picked.add(one.type.name);
      else picked.delete(one.type.name);
    }
    refresh();
  });
  const element = h(
    "div",
    { class: "picker-group", role: "group", "aria-label": title },
    h("label", { class: "check category" }, head, h("span", {}, title, h("span", { class: "faint" }, ` ${types.length}`))),
    boxes.map((one) => one.label),
  );
  refresh();
  const filter = (words) => {
    for (const one of boxes) one.label.hidden = !words.every((word) => one.text.includes(word));
    element.hidden = boxes.every((one) => one.label.hidden);
    return !element.hidden;
  };
  return { element, filter };
}
