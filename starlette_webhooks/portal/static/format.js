// Times in the reader's zone, numbers and sizes.

import { afterFrame, h } from "./dom.js";

// Made when they are needed: the first one of a page takes many milliseconds.
const clock = once(() => new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" }));
const dayOf = once(() => new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" }));
const yearOf = once(() => new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" }));
const exact = once(() => new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" }));
const hourOf = once(() => new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" }));
const relativeTo = once(() => new Intl.RelativeTimeFormat("en", { numeric: "auto" }));
const numberOf = once(() => new Intl.NumberFormat("en"));
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function once(make) {
  let made = null;
  return (...values) => (made ??= make()).format(...values);
}

/** The reader's time zone, such as `Europe/Berlin`. */
export const zone = () => globalThis.Temporal?.Now.timeZoneId() ?? Intl.DateTimeFormat().resolvedOptions().timeZone;

// What shows the times that came before `Intl` was loaded. Null after that.
let waiting = [];
// The first use of `Intl` takes a browser some 30 ms. Each of these takes a part of them.
const STEPS = [
  () => new Intl.Locale("en").maximize(),
  () => Intl.NumberFormat.supportedLocalesOf("en"),
  () => clock(new Date()),
  () => {
    const shows = waiting;
    waiting = null;
    shows.forEach((show) => show());
  },
];

/** Show a time: the first ones of the page after the frame that shows the rest, each step in a task of its own. */
function fillIn(show) {
  if (waiting === null) return show();
  if (waiting.push(show) === 1) afterFrame(() => prepare(STEPS));
}

function prepare([step, ...rest]) {
  step();
  if (rest.length > 0) setTimeout(() => prepare(rest));
}

// Small numbers are the same in any format.
export const number = (value) => (value < 1000 ? String(value) : numberOf(value));
export const hour = (moment) => hourOf(moment);
export const day = (moment) => dayOf(moment);

/** The moment in the reader's zone: the time if it is today, otherwise the day and the time. The exact time shows on hover. */
export const time = (text) => element(text, short);

/** The moment as "5 minutes ago", kept current. The exact time shows on hover. */
export function ago(text) {
  const made = element(text, relative);
  made.dataset.relative = "";
  return made;
}

/** When something is due: "in 5 minutes", or "now" if that is past. */
export const due = (text) => (new Date(text) > new Date() ? ago(text) : "now");

function element(text, format) {
  const moment = new Date(text);
  if (Number.isNaN(moment.getTime())) return h("span", {}, text);
  const made = h("time", { datetime: text });
  fillIn(() => {
    made.title = `${exact(moment)}\n${moment.toISOString()}`;
    made.textContent = format(moment);
  });
  return made;
}

function short(moment) {
  const now = new Date();
  if (moment.toDateString() === now.toDateString()) return clock(moment);
  const date = moment.getFullYear() === now.getFullYear() ? dayOf(moment) : yearOf(moment);
  return `${date}, ${clock(moment)}`;
}

function relative(moment) {
  const seconds = Math.round((moment.getTime() - Date.now()) / 1000);
  if (Math.abs(seconds) < 5) return "just now";
  for (const [unit, length] of UNITS) {
    if (Math.abs(seconds) >= length) return relativeTo(Math.trunc(seconds / length), unit);
  }
  return "just now";
}

/** Bring every relative time of the page up to date. */
export function refreshTimes() {
  for (const made of document.querySelectorAll("time[data-relative]")) {
    made.textContent = relative(new Date(made.dateTime));
  }
}

/** 340 ms, 1.2 s. */
export function duration(milliseconds) {
  return milliseconds < 1000 ? `${milliseconds} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** 512 B, 1.4 kB. */
export function size(text) {
  const bytes = new TextEncoder().encode(text).length;
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** 99.9%, never 100% if something failed, and a dash if there is nothing to count. */
export function rate(success, fail) {
  const total = success + fail;
  if (total === 0) return "–";
  const percent = (100 * success) / total;
  if (fail > 0 && percent > 99.9) return "99.9%";
  return `${percent === 100 || percent === 0 ? percent : percent.toFixed(1)}%`;
}

/** `1 event`, `2 events`. */
export function count(value, singular, plural = `${singular}s`) {
  return `${number(value)} ${value === 1 ? singular : plural}`;
}

/** Now minus a number of seconds, in the format of the API. */
export function since(seconds) {
  return new Date(Date.now() - seconds * 1000).toISOString();
}

/** A moment as a `datetime-local` input holds it, in the reader's zone. */
export function localInput(moment) {
  const shifted = new Date(moment.getTime() - moment.getTimezoneOffset() * 60000);
  return shifted.toISOString().slice(0, 16);
}
