// The request and the response of an attempt, as they went, and waiting for the attempt that someone asked for.

import { h } from "./dom.js";
import { path } from "./api.js";
import { codeBlock } from "./ui.js";
import { masked } from "./urls.js";

const PATIENCE = 25_000;
const PAUSE = 400;

/** The first line and the headers of the request. */
export function requestHead(app, attempt, endpoint) {
  const lines = attempt.requestHeaders?.map(({ name, value }) => [name, value]) ?? computed(app, attempt, endpoint);
  return head("Request headers", [h("span", { class: "t-word" }, "POST "), masked(attempt.url)], lines);
}

/** The request headers that follow from the rest, for attempts whose headers were not stored. */
function computed(app, attempt, endpoint) {
  const seconds = Math.floor(Date.parse(attempt.timestamp) / 1000);
  const styles = app.signature === "both" ? ["webhook", "svix"] : [app.signature];
  return [
    ["content-type", "application/json"],
    ...styles.flatMap((style) => [[`${style}-id`, attempt.eventId], [`${style}-timestamp`, seconds], [`${style}-signature`, "v1,… (computed for each attempt, not stored)"]]),
    ...(endpoint?.headers ?? []).map((name) => [name, "•••••• (your value)"]),
  ];
}

/** The status, the headers and the body of the response. */
export function response(attempt) {
  if (!attempt.statusCode && !attempt.response) return h("p", { class: "note" }, "There was no response.");
  const lines = attempt.responseHeaders?.map(({ name, value }) => [name, value]);
  const body = attempt.response
    ? codeBlock(attempt.response, { language: looksJson(attempt.response) ? "json" : "text", label: "Response body" })
    : h("p", { class: "note" }, "The response had no body.");
  return [lines && head("Response headers", [h("span", { class: "t-word" }, "HTTP "), attempt.statusCode], lines), body];
}

function head(label, first, lines) {
  return h(
    "div",
    { class: "code" },
    h("div", { class: "code-head" }, h("span", {}, label)),
    h(
      "pre",
      { class: "code-text", tabindex: "0", role: "group", "aria-label": label },
      first,
      "\n",
      lines.map(([name, value]) => [h("span", { class: "t-key" }, name), `: ${value}\n`]),
    ),
  );
}

const looksJson = (text) => /^\s*[[{"]/.test(text);

/** Deliver an event to an endpoint again, and wait for the attempt. Null if it takes too long. */
export async function resend(app, eventId, endpointId, signal) {
  const before = new Set((await attemptsOf(app, eventId, signal)).map((attempt) => attempt.id));
  await app.api.post(path`events/${eventId}/endpoints/${endpointId}/resend`, {}, signal);
  const made = (attempt) => attempt.endpointId === endpointId && attempt.trigger === "manual" && !before.has(attempt.id);
  return waitFor(app, eventId, made, signal);
}

/** The first attempt at an event that matches, as soon as it was made. Null if it takes too long. */
export async function waitFor(app, eventId, matches, signal) {
  const end = Date.now() + PATIENCE;
  while (Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    signal.throwIfAborted();
    const attempt = (await attemptsOf(app, eventId, signal)).find(matches);
    if (attempt) return attempt;
  }
  return null;
}

async function attemptsOf(app, eventId, signal) {
  return (await app.api.get(path`events/${eventId}/attempts`, { limit: 50 }, signal)).attempts;
}
