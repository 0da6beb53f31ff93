// Redelivering what failed in a period: counted, confirmed, then followed.

import { fill, h } from "./dom.js";
import { path } from "./api.js";
import { open } from "./dialogs.js";
import { field } from "./forms.js";
import { count, localInput, time } from "./format.js";
import { unlessNotSupported } from "./lists.js";
import { attemptsBefore, follow } from "./progress.js";
import { busy, button, notice } from "./ui.js";

const PERIODS = [["3600", "The last hour"], ["86400", "The last 24 hours"], ["604800", "The last 7 days"], ["custom", "Between two times…"]];

/** The dialog that recovers an endpoint. `changed` is called while and after deliveries go out. */
export function recover(app, endpoint, changed = () => {}) {
  const stop = new AbortController();
  const result = h("div", { class: "test-result", "aria-live": "polite" });
  const chosen = periodFields();
  const missing = h("input", { type: "checkbox" });
  const next = h("button", { type: "submit", class: "button primary" }, h("span", {}, "Count them"));
  const form = h(
    "form",
    {},
    h("p", { class: "prose" }, "Sends every event again whose delivery failed in this period and has not succeeded since."),
    chosen.elements,
    h("label", { class: "check" }, missing, h("span", {}, "Also events that were never sent here", h("small", {}, "For example, from before this endpoint existed, or while it was disabled."))),
    h("div", { class: "dialog-foot" }, next),
  );
  const ask = async () => {
    const window = chosen.read();
    if (!window) return void fill(result, notice("bad", "Enter valid times. The start must be before the end."));
    const found = await counted(app, endpoint, { ...window, missing: missing.checked }, stop.signal);
    if (found?.exact && found.failed + found.missing === 0) return void fill(result, notice("good", nothing(missing.checked)));
    form.hidden = true;
    const back = button("Back", { action: () => [fill(result), (form.hidden = false)] });
    const go = button("Recover them", { kind: "primary", action: () => start({ ...window, missing: missing.checked }).catch(show) });
    fill(result, h("div", { class: "prose" }, question(found, window, missing.checked)), h("div", { class: "dialog-foot" }, back, go));
    go.focus();
  };
  const start = async (body) => {
    const address = path`endpoints/${endpoint.id}/attempts`;
    const before = await attemptsBefore(app, address, {}, stop.signal);
    const { recovered } = await app.api.post(path`endpoints/${endpoint.id}/recover`, body, stop.signal);
    if (recovered === 0) return void fill(result, notice("good", "Nothing to recover: these are attempted again within half a minute."));
    await follow(app, { address, total: recovered, before, place: result, signal: stop.signal, changed });
  };
  const show = (error) => error.name !== "AbortError" && fill(result, notice("bad", error.message));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(next, () => ask().catch(show));
  });
  const made = open("Recover failed deliveries", { className: "narrow" }, form, result);
  made.addEventListener("close", () => {
    stop.abort();
    changed();
  });
}

function periodFields() {
  const period = h("select", { class: "input" }, PERIODS.map(([value, label]) => h("option", { value }, label)));
  period.value = "86400";
  const from = h("input", { class: "input", type: "datetime-local", value: localInput(new Date(Date.now() - 86_400_000)) });
  const to = h("input", { class: "input", type: "datetime-local" });
  const custom = h("div", { class: "field" }, field("Since", from, { hint: "In your time zone." }), field("Until", to, { optional: true, hint: "Leave it empty to use the current time." }));
  custom.hidden = true;
  period.addEventListener("change", () => (custom.hidden = period.value !== "custom"));
  const read = () => {
    if (period.value !== "custom") return { since: new Date(Date.now() - Number(period.value) * 1000).toISOString() };
    const [start, end] = [new Date(from.value), to.value ? new Date(to.value) : null];
    if (Number.isNaN(start.getTime()) || (end && !(end > start))) return null;
    return { since: start.toISOString(), ...(end && { until: end.toISOString() }) };
  };
  return { elements: [field("Period", period), custom], read };
}

/** What a recovery would send, or null if the server cannot count it. */
function counted(app, endpoint, body, signal) {
  return unlessNotSupported(app.api.post(path`endpoints/${endpoint.id}/recover`, { ...body, countOnly: true }, signal));
}

function nothing(missing) {
  return missing ? "Nothing to recover: no deliveries failed in this period, and all its events were sent here." : "Nothing to recover: no deliveries failed in this period.";
}

function question(found, { since, until }, missing) {
  const failed = found === null ? "What failed" : count(found.failed, "failed delivery", "failed deliveries");
  const unsent = found === null ? "the events that were never sent here" : count(found.missing, "event that was never sent here", "events that were never sent here");
  const period = [" since ", time(since), until && [" and before ", time(until)]];
  return [
    h("p", {}, found?.exact === false && "More than ", failed, missing && [" and ", unsent], period, " will be sent now."),
    h("p", {}, "Deliveries that are due within half a minute anyway are left as they are."),
  ];
}
