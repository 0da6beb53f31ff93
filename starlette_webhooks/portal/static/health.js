// How an endpoint is doing: in a word for lists, and in sentences for its page.

import { h } from "./dom.js";
import { due, number, time } from "./format.js";
import { linkButton, notice, pill } from "./ui.js";

const REASONS = { gone: "Your server answered 410 Gone", failing: "Failed for days", manual: "Disabled manually" };
const DISABLED = {
  gone: "Your server answered 410 Gone, which means that it wants no more deliveries.",
  failing: "Every delivery failed for days.",
  manual: "Someone disabled it.",
};

/** Whether an endpoint receives events, in one word. */
export function statePill(endpoint) {
  const { disabled, disabledReason, health } = endpoint;
  if (disabled) return pill(disabledReason === "manual" ? "quiet" : "bad", "Disabled", REASONS[disabledReason]);
  if (health?.failingSince) return pill("bad", "Failing", lastError(health));
  if (health?.pausedUntil) return pill("warn", "Paused");
  return pill("good", "Enabled");
}

/** The order of a list: what needs attention comes first. */
export function urgency({ disabled, disabledReason, health }) {
  if (disabled) return disabledReason === "manual" ? 4 : 0;
  if (health?.failingSince) return 1;
  return health?.pausedUntil ? 2 : 3;
}

/** What is wrong with an endpoint, or nothing. */
export function healthNotice(endpoint) {
  const { disabled, disabledReason, health } = endpoint;
  const waiting = health?.waiting ? ` ${atMost(health.waiting)} waiting for it.` : "";
  if (disabled) return notice("warn", h("strong", {}, "This endpoint is disabled. "), DISABLED[disabledReason] ?? "", waiting, " New events are stored, and not delivered here.", undelivered(endpoint));
  if (health?.failingSince) {
    const end = health.disablesAt ? ["It will be disabled ", due(health.disablesAt), " unless a delivery succeeds. "] : "";
    return notice("bad", h("strong", {}, "Failing since ", time(health.failingSince), ". "), `${lastError(health)} `, end, waiting, paused(health), undelivered(endpoint));
  }
  return health?.pausedUntil ? notice("warn", h("strong", {}, "Paused. "), paused(health), waiting) : null;
}

const paused = ({ pausedUntil }) => (pausedUntil ? [" Your server asked for a pause until ", time(pausedUntil), "."] : "");
const undelivered = ({ id }) => h("div", { class: "actions" }, linkButton("See what was not delivered", `#/undelivered?endpoint=${encodeURIComponent(id)}`, { small: true }));

function lastError({ statusCode, error }) {
  return statusCode ? `Last answer: HTTP ${statusCode}.` : `Last error: ${(error || "no response").replace(/\.$/, "")}.`;
}

const atMost = (waiting) => `${number(waiting)}${waiting >= 1000 ? " or more deliveries are" : waiting === 1 ? " delivery is" : " deliveries are"}`;
