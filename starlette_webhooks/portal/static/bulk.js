// Selecting rows, and retrying in bulk: counted, confirmed, then followed.

import { fill, h } from "./dom.js";
import { open } from "./dialogs.js";
import { count, number } from "./format.js";
import { attemptsBefore, follow } from "./progress.js";
import { busy, button, notice } from "./ui.js";

/** How many deliveries one call can name. */
export const MOST_NAMED = 250;

/** The rows that someone selected. `all` selects those that are shown. */
export function selection() {
  const boxes = new Map();
  const listeners = [];
  const all = h("input", { type: "checkbox", "aria-label": "Select all that are shown" });
  const chosen = () => [...boxes].filter(([, box]) => box.checked).map(([one]) => one);
  let told = null;
  const tell = () => {
    const size = chosen().length;
    all.disabled = boxes.size === 0;
    all.checked = size > 0 && size === Math.min(boxes.size, MOST_NAMED);
    all.indeterminate = size > 0 && !all.checked;
    // Each row that is added calls this.
    if (size !== told) listeners.forEach((listener) => listener(size));
    told = size;
  };
  all.addEventListener("change", () => {
    [...boxes.values()].forEach((box, index) => (box.checked = all.checked && index < MOST_NAMED));
    tell();
  });
  const add = (one, name) => {
    const box = h("input", { type: "checkbox", "aria-label": `Select ${name}` });
    box.addEventListener("change", () => {
      if (chosen().length > MOST_NAMED) box.checked = false;
      tell();
    });
    boxes.set(one, box);
    tell();
    return box;
  };
  const clear = () => {
    boxes.clear();
    tell();
  };
  const onChange = (listener) => {
    listeners.push(listener);
    listener(chosen().length);
  };
  const none = () => {
    boxes.forEach((box) => (box.checked = false));
    tell();
  };
  tell();
  return { all, add, clear, none, onChange, chosen };
}

/** A bar for what is selected, which stays at the bottom of the window. Hidden while nothing is selected. */
export function selectionBar(picked, action) {
  const again = button("Retry selected", { kind: "primary", glyph: "rotate", action });
  const none = button("Clear", {
    action: () => {
      picked.none();
      picked.all.focus();
    },
  });
  none.setAttribute("aria-label", "Clear the selection");
  const made = h("div", { class: "selection-bar", role: "group", "aria-label": "What is selected" }, none, again);
  picked.onChange((size) => {
    made.hidden = size === 0;
    made.closest(".content")?.classList.toggle("selecting", size > 0);
    fill(again.querySelector("span"), `Retry ${size} selected`);
  });
  return made;
}

/** Deliveries as the API wants them named: the events of each endpoint. */
export function byEndpoint(deliveries) {
  const events = {};
  for (const { endpointId, eventId } of deliveries) (events[endpointId] ??= []).push(eventId);
  return events;
}

/** Count what a filter matches, or what was selected, ask, retry it, and show the progress. */
export async function retry(app, body, signal, changed) {
  const found = await app.api.post("undelivered/retry", { ...body, countOnly: true }, signal);
  const many = `${found.exact ? "" : "More than "}${count(found.matching, "delivery", "deliveries")}`;
  const stop = new AbortController();
  const place = h("div", { class: "test-result", "aria-live": "polite" });
  const cancel = button("Cancel", { action: () => made.close() });
  const go = found.matching > 0 && found.exact ? button("Retry now", { kind: "primary" }) : null;
  const foot = h("div", { class: "dialog-foot" }, cancel, go);
  const made = open(found.matching === 0 ? "Nothing to retry" : `Retry ${many}?`, { className: "narrow" }, h("div", { class: "prose" }, h("p", {}, advice(found))), place, foot);
  made.addEventListener("close", () => {
    stop.abort();
    changed();
  });
  go?.addEventListener("click", () =>
    busy(go, async () => {
      try {
        const before = await attemptsBefore(app, "attempts", {}, stop.signal);
        const done = await app.api.post("undelivered/retry", body, stop.signal);
        go.remove();
        fill(cancel.querySelector("span"), "Close");
        await show(app, done, before, place, stop.signal);
      } catch (error) {
        if (error.name !== "AbortError") fill(place, notice("bad", error.message));
      }
    }),
  );
  (go || cancel).focus();
}

function advice({ matching, exact }) {
  if (matching === 0) return "Deliveries that wait for their first attempt need no retry.";
  return exact ? "They are sent again now, to the endpoints that have not confirmed them." : "These are too many for one retry. Choose one endpoint or a shorter period.";
}

async function show(app, done, before, place, signal) {
  const disabled = done.disabled > 0 && notice("warn", `${number(done.disabled)} left out, because their endpoints are disabled.`);
  if (done.queued === 0) return void fill(place, disabled || notice("good", "Nothing to retry now: these are attempted again within half a minute."));
  const bar = h("div", {});
  fill(place, disabled, h("p", { class: "dialog-note" }, `${number(done.queued)} queued.`), bar);
  await follow(app, { address: "attempts", total: done.queued, before, place: bar, signal });
}
