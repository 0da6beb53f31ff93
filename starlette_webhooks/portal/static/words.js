// What went wrong, in words for people. The API speaks to programmers: of fields, headers and calls.

const WORDS = {
  endpoint_disabled: "This endpoint is disabled. Enable it first.",
  too_many_deliveries: "These are too many for one call. Choose one endpoint or a shorter period.",
  retry_running: "A retry is already running. Wait until it has ended.",
  not_supported: "This is not available with the service that delivers your webhooks.",
  recovery_running: "A recovery of this endpoint is already running. Wait until it has ended.",
  same_secret: "This is already the current secret.",
  too_many_secrets: "Too many earlier secrets of this endpoint are still valid. Wait until some of them have expired.",
  quota_exceeded: "You have used up the test events of today. Try again tomorrow, or send smaller ones.",
  unknown_event_type: "This event type is no longer in the catalog. Choose another one.",
  reserved_type: "This event type is for real events only. Choose another one.",
  missing_scope: "Your account may look at this, but not change it.",
  cross_origin: "Open this page at its own address to make changes.",
  payload_too_large: "This is too large to send.",
  body_timeout: "The connection is too slow. Try again.",
  unavailable: "The server is not available at the moment. Try again in a minute.",
  invalid_time: "Enter a valid date and time. The start must be before the end.",
};
const FIELDS = {
  description: "Use at most 1,024 characters.",
  channels: "Use at most 10 channels. Their names have letters, digits, full stops, hyphens and underscores.",
  rateLimit: "Enter a whole number from 1 to 10,000, or nothing for no limit.",
  eventTypes: "Select at most 100 event types that are in the catalog.",
};
const PERSONAL = new Set(["url", "headers", "data"]);

/** The sentence for an error response, and the field of the form that it is about, if any. */
export function explain(status, { code, detail = "" }, retryAfter) {
  const [, field = null, rest = detail] = /^`(\w+)[^`]*`:? (.*)$/s.exec(detail) ?? [];
  if (status === 429 && code !== "quota_exceeded") return { words: `Too many of these in a short time. ${wait(retryAfter)}`, field: null };
  if (field !== null && PERSONAL.has(field)) return { words: plain(rest), field };
  if (FIELDS[field]) return { words: FIELDS[field], field };
  const words = WORDS[code] ?? (status >= 500 ? `The server answered ${status}. Try again in a minute.` : plain(detail));
  return { words: words || `The server answered ${status}.`, field: code === "unknown_event_type" ? "eventTypes" : null };
}

function wait(seconds) {
  const left = Math.ceil(Number(seconds));
  if (!(left > 0)) return "Try again in a moment.";
  return `Try again in ${left < 90 ? `${left} ${left === 1 ? "second" : "seconds"}` : `${Math.ceil(left / 60)} minutes`}.`;
}

function plain(text) {
  const words = text.replaceAll("`", "").replace(/^./, (letter) => letter.toUpperCase());
  return words && !/[.!?]$/.test(words) ? `${words}.` : words;
}
