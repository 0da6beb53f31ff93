// The states of deliveries in words, and why an event was not sent somewhere.

import { count, due } from "./format.js";
import { pill } from "./ui.js";

/** For a drop-down, of deliveries that no endpoint has confirmed. */
export const UNDELIVERED = [["exhausted", "Given up"], ["failing", "Retrying"], ["waiting", "Waiting"]];
/** For a drop-down, of events. */
export const EVENT_STATES = [["", "Any state"], ["delivered", "Delivered"], ...UNDELIVERED, ["unsent", "Not sent"]];

const PILLS = {
  exhausted: ["bad", "Given up"],
  failing: ["warn", "Retrying"],
  waiting: ["quiet", "Waiting"],
  delivered: ["good", "Delivered"],
  unsent: ["quiet", "Not sent"],
};
const MOST = 100;
const REASONS = {
  event_type: "Not subscribed to this event type",
  channel: "Not subscribed to the channels of this event",
  added_later: "Added after this event",
  disabled: "Disabled",
  test: "This is a test event of another endpoint",
  changed_since: "Disabled or not subscribed at that time",
};

/** A state in one word. */
export const statePillOf = (state, label = null) => pill(PILLS[state][0], label ?? PILLS[state][1]);

/** The states of an event over all endpoints, the worst first. Nothing if they are not known. */
export function eventPills(event) {
  if (event.delivered === undefined) return [];
  const found = ["exhausted", "failing", "waiting", "delivered"].filter((state) => event[state] > 0);
  if (found.length === 0) return [statePillOf("unsent")];
  const only = found.length === 1 && event[found[0]] === 1;
  return found.map((state) => statePillOf(state, only ? null : `${amount(event[state])} ${PILLS[state][1].toLowerCase()}`));
}

const amount = (value) => (value >= MOST ? `${MOST}+` : String(value));

/** The state of one delivery: a pill, and what happens next. */
export function deliveryState(delivery) {
  const { state, attempts, endpointDisabled, running, nextAttemptAt } = delivery;
  const made = attempts > 0 ? count(attempts, "attempt") : null;
  if (state === "delivered") return [statePillOf(state), made];
  if (state === "exhausted") return [statePillOf(state), `${made ?? "No attempt"} · no more will be made`];
  if (endpointDisabled) return [pill("quiet", "Disabled"), [made, made && " · ", "waits until the endpoint is enabled"]];
  if (running) return [statePillOf(state, "Sending"), [made, made && " · ", "an attempt is running"]];
  if (state === "failing") return [statePillOf(state), [made, nextAttemptAt && [" · next ", due(nextAttemptAt)]]];
  return [statePillOf(state, "Queued"), [made, made && " · ", nextAttemptAt && ["due ", due(nextAttemptAt)]]];
}

/** Why there is no delivery to an endpoint. */
export const reasonOf = ({ reason }) => REASONS[reason] ?? "Not sent";
