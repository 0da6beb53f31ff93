// One endpoint: its statistics, its deliveries and its settings.

import { fill, h } from "./dom.js";
import { path } from "./api.js";
import { attemptCard, firstAttempts } from "./attempts.js";
import { confirm } from "./dialogs.js";
import { ago, number } from "./format.js";
import { healthNotice, statePill } from "./health.js";
import { loader } from "./lists.js";
import { recover } from "./recover.js";
import { secretCard } from "./secret.js";
import { statisticsCard } from "./statistics.js";
import { testButton } from "./testing.js";
import { button, card, copyButton, facts, linkButton, notice, toast } from "./ui.js";
import { masked, urlField, urlText } from "./urls.js";

const REFRESH = 10_000;
const PAGE = 25;

export async function endpointPage(app, view) {
  view.back("Endpoints", "#/endpoints");
  view.title("Endpoint");
  const id = view.params[0];
  const page = loader(app, view, {
    rows: 8,
    fetch: () => {
      const early = firstAttempts(app, view, id);
      return Promise.all([app.api.get(path`endpoints/${id}`, {}, view.signal), { early }]);
    },
    render: ([endpoint, { early }]) => content(app, view, endpoint, early, () => page.reload()),
  });
  view.root.append(page);
}

function content(app, view, endpoint, early, again) {
  const actions = app.write && !endpoint.disabled && button("Recover", { small: true, glyph: "rotate", action: () => recover(app, endpoint, refresh) });
  const deliveries = attemptCard(app, view, endpoint, { early, actions });
  const refresh = () => {
    if (view.signal.aborted) return;
    deliveries.reload();
    figures.reload();
  };
  const figures = statisticsCard(app, view, endpoint, refresh, deliveries.shown);
  const timer = setInterval(() => idle(view, figures.element) && refresh(), REFRESH);
  view.signal.addEventListener("abort", () => clearInterval(timer));
  const address = urlField(endpoint.url);
  view.title(masked(endpoint.url), { mono: true, shown: address.text, badge: [address.tools, statePill(endpoint)], text: endpoint.description, actions: app.write && controls(app, endpoint, again, refresh) });
  const fresh = view.query.get("created") !== null && app.write;
  // A bar of the chart leads here.
  if (view.query.get("show") === "deliveries") requestAnimationFrame(() => deliveries.element.scrollIntoView({ block: "start" }));
  // What stands beside or below the deliveries need not delay them.
  const beside = h("aside", {});
  deliveries.shown.then(() => fill(beside, secretCard(app, endpoint), setup(app, endpoint)));
  return [
    fresh && notice("good", h("strong", {}, "Endpoint added. "), "Copy its signing secret to your server, then send a test event."),
    healthNotice(endpoint),
    h("div", { class: "columns" }, h("div", {}, figures.element, deliveries.element), beside),
  ];
}

/** Whether the page may refresh by itself: not while someone reads further down, views an attempt, or has the focus in the table. */
function idle(view, figures) {
  const rows = view.root.querySelector("tbody");
  if (document.hidden || figures.contains(document.activeElement) || document.querySelector("dialog[open]") || !getSelection().isCollapsed) return false;
  return !rows || (rows.children.length <= PAGE && !rows.contains(document.activeElement));
}

function controls(app, endpoint, again, refresh) {
  const name = h("strong", {}, urlText(endpoint.url));
  const toggle = endpoint.disabled
    ? button("Enable", {
        kind: "primary",
        glyph: "power",
        action: async () => {
          await app.api.patch(path`endpoints/${endpoint.id}`, { disabled: false });
          toast("Endpoint enabled");
          await again();
        },
      })
    : button("Disable", {
        glyph: "power",
        action: async () => {
          const done = await confirm({
            title: "Disable this endpoint?",
            text: [h("p", {}, name), h("p", {}, "Nothing is delivered to it until you enable it again. Events from that time are stored, and you can recover them.")],
            label: "Disable",
            action: () => app.api.patch(path`endpoints/${endpoint.id}`, { disabled: true }),
          });
          if (done) await again();
        },
      });
  const remove = button("Delete", {
    glyph: "trash",
    kind: "plain danger-text",
    action: async () => {
      const done = await confirm({
        title: "Delete this endpoint?",
        text: [h("p", {}, name), h("p", {}, "This also deletes its secret, its settings and its deliveries, and cannot be undone.")],
        label: "Delete endpoint",
        danger: true,
        action: () => app.api.delete(path`endpoints/${endpoint.id}`),
      });
      if (!done) return;
      toast("Endpoint deleted");
      app.go("/endpoints");
    },
  });
  const edit = linkButton("Edit", `#/endpoints/${encodeURIComponent(endpoint.id)}/edit`, { glyph: "edit" });
  return [!endpoint.disabled && testButton(app, endpoint, refresh, { kind: "primary" }), toggle, edit, remove];
}

function setup(app, endpoint) {
  const types = endpoint.eventTypes.map((name) => h("code", { class: "chip" }, name));
  const describe = (catalog) => {
    const labels = new Map(catalog.map((type) => [type.name, type.label]));
    types.forEach((type, index) => (type.title = labels.get(endpoint.eventTypes[index]) ?? ""));
  };
  // They only describe.
  app.catalog().then(describe, () => {});
  const chips = (values) => h("div", { class: "chips" }, values.map((value) => h("code", { class: "chip" }, value)));
  return card(
    "Setup",
    {},
    facts(
      ["Id", h("span", { class: "mono break" }, endpoint.id), copyButton(endpoint.id, "Copy endpoint id")],
      ["Events", types.length ? h("div", { class: "chips" }, types) : "All events"],
      endpoint.channels.length > 0 && ["Channels", chips(endpoint.channels)],
      ["Rate limit", endpoint.rateLimit ? `${number(endpoint.rateLimit)} per second` : "None"],
      endpoint.headers?.length > 0 && ["Headers", chips(endpoint.headers)],
      ["Added", ago(endpoint.createdAt)],
      ["Updated", ago(endpoint.updatedAt)],
    ),
  );
}
