// The progress of deliveries that somebody asked for, as their attempts are made.

import { fill, h } from "./dom.js";
import { count, number } from "./format.js";
import { notice } from "./ui.js";

const PATIENCE = 600_000;
const PAUSE = 1000;
const PAGE = 250;
// An attempt is listed once it has ended, by the time at which it started.
const LONGEST_ATTEMPT = 60_000;

/** The last attempts of a list, before something is sent again. `address` and `query` are those of the list. */
export async function attemptsBefore(app, address, query, signal) {
  return (await app.api.get(address, { ...query, limit: PAGE }, signal)).attempts;
}

/** Show in `place` how many of `total` deliveries were attempted since `before`. */
export async function follow(app, { address, query = {}, total, before, place, signal, changed = () => {} }) {
  const bar = h("progress", { class: "progress", max: total, value: 0, "aria-label": "Deliveries sent again" });
  const words = h("p", { class: "dialog-note" });
  fill(place, bar, words);
  // New attempts are recognised by their ids, because the browser's clock may differ from the server's.
  const known = new Set(before.map((attempt) => attempt.id));
  const last = before[0]?.id ?? "";
  const results = new Map();
  let newest = before[0] ? Date.parse(before[0].timestamp) : null;
  const end = Date.now() + PATIENCE;
  while (Date.now() < end) {
    const after = newest === null ? null : new Date(newest - LONGEST_ATTEMPT).toISOString();
    const fresh = (await everyAttempt(app, address, { ...query, after }, signal)).filter(({ id }) => id > last && !known.has(id));
    for (const attempt of fresh) {
      known.add(attempt.id);
      newest = Math.max(newest ?? 0, Date.parse(attempt.timestamp));
      if (attempt.trigger === "manual") results.set(`${attempt.eventId} ${attempt.endpointId}`, attempt.status);
    }
    const good = [...results.values()].filter((status) => status === "success").length;
    bar.value = Math.min(results.size, total);
    fill(words, `${number(bar.value)} of ${count(total, "delivery", "deliveries")} sent again: ${number(good)} succeeded, ${number(results.size - good)} failed.`);
    if (fresh.length > 0) changed();
    if (results.size >= total) {
      const failed = results.size - good;
      place.append(failed ? notice("warn", `${count(failed, "delivery", "deliveries")} failed again and will be retried on schedule.`) : notice("good", "All deliveries succeeded."));
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    signal.throwIfAborted();
  }
}

/** Oldest first. */
async function everyAttempt(app, address, query, signal) {
  const attempts = [];
  let cursor = null;
  do {
    const page = await app.api.get(address, { ...query, limit: PAGE, cursor }, signal);
    attempts.push(...page.attempts);
    cursor = page.done ? null : page.nextCursor;
  } while (cursor);
  return attempts.reverse();
}
