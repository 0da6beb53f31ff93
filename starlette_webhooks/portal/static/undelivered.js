// What never arrived, over all endpoints, and its retry.

import { h } from "./dom.js";
import { confirm } from "./dialogs.js";
import { periodFilter, periodQuery, select, typeSelect } from "./forms.js";
import { ago, count, number, time } from "./format.js";
import { pagedTable } from "./lists.js";
import { UNDELIVERED, statePillOf } from "./states.js";
import { button, empty, pill, rowId, rowLink, toast } from "./ui.js";
import { masked, shortened, urlText } from "./urls.js";

const FILTERS = ["endpoint", "state", "type", "code", "period", "from", "to"];
const STATES = [["", "Any state"], ...UNDELIVERED];
const CLASSES = [["", "Any response"], ["2", "2xx"], ["3", "3xx"], ["4", "4xx"], ["5", "5xx"], ["0", "No response"]];

export async function undeliveredPage(app, view) {
  const filters = Object.fromEntries(FILTERS.map((name) => [name, view.query.get(name) ?? ""]));
  const retry = app.write && button("Retry all of these", { kind: "primary", glyph: "rotate", action: () => retryAll(app, filters, view.signal, () => list.reload()) });
  view.title("Undelivered", { text: "What no endpoint has confirmed yet.", actions: retry });
  const change = (changes) => {
    Object.assign(filters, changes);
    view.setQuery(filters);
    list.reload();
  };
  const fetch = async (cursor) => {
    const query = { endpoint: filters.endpoint, state: filters.state, event_type: filters.type, status_code_class: filters.code, limit: 50, cursor };
    const page = await app.api.get("undelivered", { ...query, ...periodQuery(filters) }, view.signal);
    if (retry) retry.hidden = cursor === null && page.undelivered.length === 0;
    return { ...page, items: page.undelivered };
  };
  const blank = () =>
    Object.values(filters).some(Boolean)
      ? empty({ glyph: "search", title: "No matches", text: "No undelivered events match these filters." })
      : empty({ glyph: "check", title: "Everything was delivered", text: "Every event that your endpoints should receive was confirmed." });
  const [endpoints, catalog] = await Promise.all([app.endpoints(view.signal), app.catalog()]);
  const names = endpoints.map((endpoint) => [endpoint.id, endpoint.description || shortened(masked(endpoint.url), 40)]);
  const head = [["State", ""], ["Event", ""], ["Endpoint", "wide"], ["Next attempt", "middle end"]];
  const list = pagedTable(app, view, { label: "Undelivered", head, fetch, row: undeliveredRow, blank });
  const tools = h(
    "div",
    { class: "filters" },
    select("Endpoint", [["", "All endpoints"], ...names], filters.endpoint, (endpoint) => change({ endpoint })),
    select("State", STATES, filters.state, (state) => change({ state })),
    select("Response", CLASSES, filters.code, (code) => change({ code })),
    typeSelect("Event type", catalog, filters.type, (type) => change({ type })),
    periodFilter(filters, change),
  );
  view.root.append(tools, h("div", { class: "card flush" }, list));
}

function undeliveredRow(one) {
  const last = one.attempts === 0 ? "No attempt yet" : one.statusCode ? `HTTP ${one.statusCode}` : one.error || "No response";
  return h(
    "tr",
    {},
    h("td", { class: "fit" }, one.endpointDisabled ? pill("quiet", "Disabled") : statePillOf(one.state)),
    h("td", {}, h("div", {}, rowLink(`#/events/${encodeURIComponent(one.eventId)}`, { className: "strong" }, one.eventType)), h("div", { class: "under" }, rowId(one.eventId, "event id"), time(one.timestamp))),
    h("td", { class: "wide" }, h("div", {}, urlText(one.url)), h("div", { class: "under" }, `${last} · ${count(one.attempts, "attempt")}`)),
    h("td", { class: "middle fit end" }, one.nextAttemptAt && !one.endpointDisabled ? ago(one.nextAttemptAt) : "None"),
  );
}

/** Count what the filters match, ask, and retry it. */
async function retryAll(app, filters, signal, changed) {
  const { after, before } = periodQuery(filters);
  const body = {
    ...(filters.endpoint && { endpoint: filters.endpoint }),
    ...(filters.type && { eventTypes: [filters.type] }),
    ...(["exhausted", "failing"].includes(filters.state) && { states: [filters.state] }),
    ...(filters.code && { statusCodeClass: Number(filters.code) }),
    ...(after && { after }),
    ...(before && { before }),
  };
  const found = await app.api.post("undelivered/retry", { ...body, countOnly: true }, signal);
  if (found.matching === 0 || filters.state === "waiting") return toast("Nothing to retry: deliveries that wait are attempted by themselves.");
  const many = `${found.exact ? "" : "More than "}${count(found.matching, "delivery", "deliveries")}`;
  let done = null;
  const yes = await confirm({
    title: `Retry ${many}?`,
    text: h("p", {}, found.exact ? "They are sent again now, to the endpoints that have not confirmed them." : "That is too much for one go. Choose one endpoint or a shorter time first."),
    label: "Retry now",
    action: async () => {
      done = await app.api.post("undelivered/retry", body, signal);
    },
  });
  if (!yes) return;
  const queued = done.queued ? `${number(done.queued)} queued.` : "Nothing to hurry: these are attempted again within half a minute.";
  toast(`${queued}${done.disabled ? ` ${number(done.disabled)} left out, because their endpoints are disabled.` : ""}`);
  setTimeout(changed, 1200);
}
