// Deliveries over time, as a sparkline and as bars that open their attempts.

import { h, svg } from "./dom.js";
import { count, day, hour, localInput, number } from "./format.js";

/** What a chart shows: days, the hours of one bar, and its name. */
export const WINDOWS = { 1: { hours: 1, name: "Last 24 hours" }, 7: { hours: 6, name: "Last 7 days" }, 30: { hours: 24, name: "Last 30 days" } };

/** The starts of the bars of a window that ends now, in the reader's zone, and the end of the last one. */
export function spans(days, until = new Date()) {
  const step = WINDOWS[days].hours;
  const last = Math.floor(until.getHours() / step) * step;
  const at = (back) => new Date(until.getFullYear(), until.getMonth(), until.getDate(), last - back * step);
  return Array.from({ length: (days * 24) / step + 1 }, (_, index) => at((days * 24) / step - 1 - index));
}

/** One entry for each bar, including those without deliveries. */
function entries(stats, days) {
  const starts = spans(days, new Date(stats.until));
  const made = starts.slice(0, -1).map((start, index) => ({ start, end: starts[index + 1], success: 0, fail: 0 }));
  for (const bucket of stats.buckets) {
    const moment = new Date(bucket.start);
    const entry = made.findLast((one) => one.start <= moment);
    if (!entry) continue;
    entry.success += bucket.success;
    entry.fail += bucket.fail;
  }
  return made;
}

const summary = (stats, days) => `${WINDOWS[days].name}: ${number(stats.success)} succeeded, ${number(stats.fail)} failed`;

/** The last 24 hours in a few pixels. */
export function sparkline(stats) {
  const made = entries(stats, 1);
  const top = Math.max(1, ...made.map((entry) => entry.success + entry.fail));
  const bars = made.flatMap((entry, index) => {
    const x = index * 5;
    if (entry.success + entry.fail === 0) return [svg("rect", { class: "spark-none", x, y: 22, width: 3.5, height: 2, rx: 1 })];
    const good = (entry.success / top) * 22;
    const bad = (entry.fail / top) * 22;
    const shown = [];
    if (entry.success) shown.push(svg("rect", { class: "spark-good", x, y: 24 - Math.max(good, 2), width: 3.5, height: Math.max(good, 2), rx: 1 }));
    if (entry.fail) shown.push(svg("rect", { class: "spark-bad", x, y: 24 - good - Math.max(bad, 2), width: 3.5, height: Math.max(bad, 2), rx: 1 }));
    return shown;
  });
  return svg("svg", { class: "spark", viewBox: "0 0 120 24", role: "img", "aria-label": summary(stats, 1) }, bars);
}

/** A window as bars with an axis. `address(entry)` is where a bar leads. */
export function chart(stats, days, address) {
  const made = entries(stats, days);
  const top = Math.max(1, ...made.map((entry) => entry.success + entry.fail));
  const bars = made.map((entry) => bar(entry, top, address(entry), days));
  const label = days === 1 ? hour : day;
  const every = made.length / (days === 7 ? 7 : days === 30 ? 6 : 4);
  const marks = made.filter((_, index) => index % every === 0).map((entry) => h("span", {}, label(entry.start)));
  const group = h("div", { class: "bars", role: "group", "aria-label": summary(stats, days) }, bars);
  byArrows(group);
  return h("figure", { class: "chart" }, group, h("div", { class: "axis", "aria-hidden": "true" }, marks, h("span", {}, "now")));
}

function bar(entry, top, href, days) {
  const parts = [
    entry.fail > 0 && h("i", { class: "bar-bad", vars: { "--share": entry.fail / top } }),
    entry.success > 0 && h("i", { class: "bar-good", vars: { "--share": entry.success / top } }),
  ];
  if (entry.success + entry.fail === 0) return h("span", { class: "bar" });
  const when = days === 30 ? day(entry.start) : `${day(entry.start)}, ${hour(entry.start)}`;
  const words = `${when}: ${count(entry.success, "success", "successes")}, ${count(entry.fail, "failure")}`;
  return h("a", { class: "bar", href, title: words, "aria-label": words }, parts);
}

/** One stop for the Tab key; arrow keys move on. */
function byArrows(group) {
  const links = [...group.querySelectorAll("a")];
  links.forEach((link, index) => (link.tabIndex = index === links.length - 1 ? 0 : -1));
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = links[links.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    links.forEach((link) => (link.tabIndex = link === next ? 0 : -1));
    next.focus();
  });
}

/** The filter of attempts for the time of a bar, as it is in the address of an endpoint. */
export function filterOf({ start, end }) {
  return new URLSearchParams({ period: "custom", from: localInput(start), to: localInput(end), show: "deliveries" });
}
