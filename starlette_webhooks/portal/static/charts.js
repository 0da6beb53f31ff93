// Deliveries per hour, as a sparkline and as bars.

import { h, svg } from "./dom.js";
import { count, hour, number } from "./format.js";

const HOUR = 3_600_000;

/** One entry for each hour of the window, including hours without deliveries. */
export function hours(stats) {
  const known = new Map(stats.buckets.map((bucket) => [Math.floor(Date.parse(bucket.start) / HOUR), bucket]));
  const last = Math.floor(Date.parse(stats.until) / HOUR);
  const first = Math.max(Math.floor(Date.parse(stats.since) / HOUR) + 1, last - 23);
  const entries = [];
  for (let index = first; index <= last; index += 1) {
    const bucket = known.get(index);
    entries.push({ start: new Date(index * HOUR), success: bucket?.success ?? 0, fail: bucket?.fail ?? 0 });
  }
  return entries;
}

const summary = (stats) => `Last 24 hours: ${number(stats.success)} succeeded, ${number(stats.fail)} failed`;

/** The last 24 hours in a few pixels. */
export function sparkline(stats) {
  const entries = hours(stats);
  const top = Math.max(1, ...entries.map((entry) => entry.success + entry.fail));
  const bars = entries.flatMap((entry, index) => {
    const x = index * 5;
    if (entry.success + entry.fail === 0) return [svg("rect", { class: "spark-none", x, y: 22, width: 3.5, height: 2, rx: 1 })];
    const good = (entry.success / top) * 22;
    const bad = (entry.fail / top) * 22;
    const shown = [];
    if (entry.success) shown.push(svg("rect", { class: "spark-good", x, y: 24 - Math.max(good, 2), width: 3.5, height: Math.max(good, 2), rx: 1 }));
    if (entry.fail) shown.push(svg("rect", { class: "spark-bad", x, y: 24 - good - Math.max(bad, 2), width: 3.5, height: Math.max(bad, 2), rx: 1 }));
    return shown;
  });
  return svg("svg", { class: "spark", viewBox: "0 0 120 24", role: "img", "aria-label": summary(stats) }, bars);
}

/** The last 24 hours as bars with an axis. */
export function chart(stats) {
  const entries = hours(stats);
  const top = Math.max(1, ...entries.map((entry) => entry.success + entry.fail));
  const bars = entries.map((entry) => {
    const parts = [
      entry.fail > 0 && h("i", { class: "bar-bad", vars: { "--share": entry.fail / top } }),
      entry.success > 0 && h("i", { class: "bar-good", vars: { "--share": entry.success / top } }),
    ];
    const title = `${hour(entry.start)}\n${count(entry.success, "success", "successes")}, ${count(entry.fail, "failure")}`;
    return h("span", { class: "bar", title }, parts);
  });
  const marks = [0, 6, 12, 18].filter((index) => index < entries.length).map((index) => h("span", {}, hour(entries[index].start)));
  return h(
    "figure",
    { class: "chart" },
    h("div", { class: "bars", role: "img", "aria-label": summary(stats) }, bars),
    h("div", { class: "axis", "aria-hidden": "true" }, marks, h("span", {}, "now")),
  );
}
