// Labelled controls.

import { fill, h, uid } from "./dom.js";
import { since } from "./format.js";

/** A control with its label, and a hint that screen readers read with it. `.report(words)` shows an error at it. */
export function field(label, control, { hint = null, optional = false } = {}) {
  control.id ||= uid("field");
  const help = hint && h("p", { class: "hint", id: uid("hint") }, hint);
  const problem = problemOf(control, help?.id);
  const made = h(
    "div",
    { class: "field" },
    h("label", { for: control.id }, label, optional && h("span", { class: "optional" }, " optional")),
    control,
    problem.element,
    help,
  );
  made.report = problem.report;
  return made;
}

/** The place for an error of a control, or of a group that has `control` as its first one. */
export function problemOf(control, described = "") {
  const element = h("p", { class: "field-error", id: uid("error"), role: "alert" });
  control.setAttribute("aria-describedby", `${described} ${element.id}`.trim());
  const report = (words) => {
    fill(element, words);
    if (!words) return control.removeAttribute("aria-invalid");
    control.setAttribute("aria-invalid", "true");
    control.focus();
  };
  return { element, report };
}

/** A drop-down: `[[value, label], ...]`, or `[group, [[value, label], ...]]` for a group. */
export function select(label, options, value, change) {
  const made = h("select", { class: "input", "aria-label": label });
  for (const [key, text] of options) {
    if (Array.isArray(text)) made.append(h("optgroup", { label: key }, text.map(option)));
    else made.append(option([key, text]));
  }
  made.value = value ?? "";
  if (made.selectedIndex < 0) made.selectedIndex = 0;
  if (change) made.addEventListener("change", () => change(made.value));
  return made;
}

const option = ([value, text]) => h("option", { value }, text);

/** A drop-down of event types, by category. */
export function typeSelect(label, catalog, value, change, first = "All event types") {
  const groups = byCategory(catalog).map(([name, types]) => [name, types.map((type) => [type.name, type.label || type.name])]);
  return select(label, [["", first], ...groups], value, change);
}

/** A filter by event type. `.load()` adds its options, once nothing more important is loading. */
export function typeFilter(app, filters, change) {
  const make = (catalog) => {
    // What is filtered by is shown before the catalog has come, and if it lacks this type.
    const known = filters.type === "" || catalog.some((type) => type.name === filters.type);
    return typeSelect("Event type", known ? catalog : [...catalog, { name: filters.type }], filters.type, (type) => change({ type }));
  };
  const slot = h("span", { class: "slot" }, make([]));
  // Without its options, the filter is of less use. The page is not.
  slot.load = () => app.catalog().then((catalog) => fill(slot, make(catalog)), () => {});
  return slot;
}

/** Event types under their categories, in the catalog's order. */
export function byCategory(catalog) {
  const groups = new Map();
  for (const type of catalog) {
    const name = type.category || "Other";
    groups.set(name, [...(groups.get(name) ?? []), type]);
  }
  return [...groups];
}

const PERIODS = [["", "Any time"], ["3600", "Last hour"], ["86400", "Last 24 hours"], ["604800", "Last 7 days"], ["until", "Up to a date…"], ["custom", "Between…"]];

/** A filter by time: a period up to now, everything up to a moment, or a range in the reader's time zone. Calls `change({period, from, to})`. */
export function periodFilter(value, change) {
  const range = h("div", { class: "range" });
  // A browser takes long to make inputs of this type, and few people need them.
  let made = null;
  const moments = () => (made ??= [moment("From", value.from, tell), moment("To", value.to, tell)]);
  const show = (chosen) => {
    range.hidden = !["custom", "until"].includes(chosen);
    if (range.hidden) return;
    const [from, to] = moments();
    fill(range, chosen === "custom" && [from, h("span", { "aria-hidden": "true" }, "–")], to);
  };
  const tell = () => {
    const [from, to] = made?.map((input) => input.value) ?? [value.from ?? "", value.to ?? ""];
    change({ period: period.value, from, to });
  };
  const period = select("Time", PERIODS, value.period, () => {
    show(period.value);
    tell();
  });
  show(value.period);
  return [period, range];
}

function moment(label, value, tell) {
  const made = h("input", { class: "input", type: "datetime-local", "aria-label": label, value: value ?? "" });
  made.addEventListener("change", tell);
  return made;
}

/** The query parameters for such a filter: `after` and `before`. */
export function periodQuery({ period, from, to }) {
  if (period === "until") return { before: instant(to) };
  if (period === "custom") return { after: instant(from), before: instant(to) };
  return period ? { after: since(Number(period)) } : {};
}

function instant(text) {
  const value = new Date(text);
  return text && !Number.isNaN(value.getTime()) ? value.toISOString() : undefined;
}

/** Show an error above a form, and scroll to it. */
export function formError(place, message) {
  fill(place, message ? h("div", { class: "notice bad", role: "alert" }, h("div", {}, message)) : null);
  if (message) place.scrollIntoView({ block: "nearest" });
}
