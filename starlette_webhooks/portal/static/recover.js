// Redelivering what failed since a given time, with progress.

import { fill, h } from "./dom.js";
import { path } from "./api.js";
import { open } from "./dialogs.js";
import { field } from "./forms.js";
import { count, localInput, number } from "./format.js";
import { busy, notice } from "./ui.js";

const PERIODS = [["3600", "The last hour"], ["86400", "The last 24 hours"], ["604800", "The last 7 days"], ["custom", "A date and time…"]];
const PATIENCE = 600_000;
const PAGE = 250;

/** The dialog that recovers an endpoint. `changed` is called while and after deliveries go out. */
export function recover(app, endpoint, changed = () => {}) {
  const period = h("select", { class: "input" }, PERIODS.map(([value, label]) => h("option", { value }, label)));
  period.value = "86400";
  const moment = h("input", { class: "input", type: "datetime-local", value: localInput(new Date(Date.now() - 86_400_000)) });
  const custom = field("Since", moment, { hint: "In your time zone." });
  custom.hidden = true;
  period.addEventListener("change", () => (custom.hidden = period.value !== "custom"));
  const missing = h("input", { type: "checkbox" });
  const go = h("button", { type: "submit", class: "button primary" }, h("span", {}, "Recover"));
  const result = h("div", { class: "test-result", "aria-live": "polite" });
  const form = h(
    "form",
    {},
    h("p", { class: "prose" }, "Sends every event again whose delivery failed in this period and has not succeeded since."),
    field("Period", period),
    custom,
    h("label", { class: "check" }, missing, h("span", {}, "Also events that were never sent here", h("small", {}, "For example, from before this endpoint existed, or while it was disabled."))),
    h("div", { class: "dialog-foot" }, go),
  );
  const stop = new AbortController();
  const start = async () => {
    const from = period.value === "custom" ? new Date(moment.value) : new Date(Date.now() - Number(period.value) * 1000);
    if (Number.isNaN(from.getTime())) return void fill(result, notice("bad", "Enter a date and a time."));
    try {
      const before = await app.api.get(path`endpoints/${endpoint.id}/attempts`, { limit: PAGE }, stop.signal);
      const answer = await app.api.post(path`endpoints/${endpoint.id}/recover`, { since: from.toISOString(), missing: missing.checked });
      if (answer.recovered === 0) return void fill(result, notice("good", "Nothing to recover: no deliveries failed in this period."));
      form.hidden = true;
      await follow(app, endpoint, answer.recovered, before.attempts, result, stop.signal, changed);
    } catch (error) {
      if (error.name !== "AbortError") fill(result, notice("bad", error.message));
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(go, start);
  });
  const made = open("Recover failed deliveries", { className: "narrow" }, form, result);
  made.addEventListener("close", () => {
    stop.abort();
    changed();
  });
}

async function follow(app, endpoint, total, before, place, signal, changed) {
  const bar = h("progress", { class: "progress", max: total, value: 0, "aria-label": "Recovered deliveries" });
  const words = h("p", { class: "dialog-note" });
  fill(place, bar, words);
  const end = Date.now() + PATIENCE;
  // New attempts are recognised by their ids, because the browser's clock may differ from the server's.
  const known = new Set(before.map((attempt) => attempt.id));
  const after = before[0]?.timestamp;
  while (Date.now() < end) {
    const results = await manual(app, endpoint, after, known, total, signal);
    const good = [...results.values()].filter((status) => status === "success").length;
    bar.value = Math.min(results.size, total);
    fill(words, `${number(bar.value)} of ${count(total, "delivery", "deliveries")} sent again: ${number(good)} succeeded, ${number(results.size - good)} failed.`);
    if (results.size >= total) {
      const failed = results.size - good;
      place.append(failed ? notice("warn", `${count(failed, "delivery", "deliveries")} failed again and will be retried on schedule.`) : notice("good", "All deliveries succeeded."));
      break;
    }
    changed();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    signal.throwIfAborted();
  }
  changed();
}

async function manual(app, endpoint, after, known, total, signal) {
  const results = new Map();
  let cursor = null;
  do {
    const page = await app.api.get(path`endpoints/${endpoint.id}/attempts`, { after, limit: PAGE, cursor }, signal);
    for (const attempt of page.attempts) {
      if (attempt.trigger === "manual" && !known.has(attempt.id) && !results.has(attempt.eventId)) results.set(attempt.eventId, attempt.status);
    }
    cursor = page.done ? null : page.nextCursor;
  } while (cursor && results.size < total);
  return results;
}
