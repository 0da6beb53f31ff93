// The activity of an endpoint: success, response times and bars, or what to do next where there were no deliveries yet.

import { h } from "./dom.js";
import { path } from "./api.js";
import { WINDOWS, chart, filterOf, spans } from "./charts.js";
import { select } from "./forms.js";
import { duration, number, rate } from "./format.js";
import { loader } from "./lists.js";
import { testButton } from "./testing.js";
import { card, linkButton } from "./ui.js";

const LATEST = 25;

/** A card with the activity of an endpoint. It is fetched once `after` has resolved, and again by `.reload()`. */
export function statisticsCard(app, view, endpoint, changed, after) {
  let days = 1;
  const place = loader(app, view, {
    rows: 2,
    fetch: async () => {
      await after;
      return Promise.all([
        app.api.get(path`endpoints/${endpoint.id}/stats`, { since: spans(days)[0].toISOString() }, view.signal),
        app.api.get(path`endpoints/${endpoint.id}/attempts`, { limit: LATEST }, view.signal),
      ]);
    },
    render: ([stats, { attempts }]) => {
      period.hidden = attempts.length === 0;
      return attempts.length === 0 ? nextSteps(app, endpoint, stats, changed) : [tiles(stats, attempts), chart(stats, days, (entry) => address(endpoint, entry))];
    },
  });
  const period = select("Period", Object.entries(WINDOWS).map(([value, { name }]) => [value, name]), "1", (value) => {
    days = Number(value);
    place.reload();
  });
  period.hidden = true;
  const element = card("Activity", { actions: period, className: "activity" }, place);
  return { element, reload: () => place.reload() };
}

const address = (endpoint, entry) => `#/endpoints/${encodeURIComponent(endpoint.id)}?${filterOf(entry)}`;

function tiles(stats, attempts) {
  const tile = (label, value, kind = "", title = null) => h("div", { class: `tile ${kind}`, title }, h("dt", {}, label), h("dd", {}, value));
  return h(
    "dl",
    { class: "tiles" },
    tile("Success rate", rate(stats.success, stats.fail)),
    tile("Succeeded", number(stats.success)),
    tile("Failed", number(stats.fail), stats.fail ? "bad" : ""),
    tile("Waiting", number(stats.pending)),
    tile("Response time", duration(median(attempts.map((attempt) => attempt.durationMs))), "", `The median of the last ${attempts.length} attempts`),
  );
}

function median(values) {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)];
}

function nextSteps(app, endpoint, stats, changed) {
  if (stats.pending > 0) return h("p", { class: "note" }, `${number(stats.pending)} waiting for a first attempt.`);
  if (!app.write || endpoint.disabled) return h("p", { class: "note" }, "Nothing has been sent here yet.");
  return h(
    "ol",
    { class: "next" },
    h("li", {}, h("strong", {}, "Copy the signing secret"), " to your server."),
    h("li", {}, h("strong", {}, "Verify each delivery"), " with it. ", h("a", { href: "#/start" }, "Code for your language")),
    h("li", {}, h("strong", {}, "Send a test event"), " and see what your server answers.", h("div", { class: "actions" }, testButton(app, endpoint, changed, { label: "Send the first test", small: true }), linkButton("Event catalog", "#/catalog", { small: true }))),
  );
}
