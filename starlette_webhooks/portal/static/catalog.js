// The event catalog.

import { h } from "./dom.js";
import { byCategory } from "./forms.js";
import { icon } from "./icons.js";
import { loader } from "./lists.js";
import { schemaTable } from "./schema.js";
import { examplePayload, verification } from "./snippets.js";
import { card, codeBlock, copyButton, empty, failure, linkButton } from "./ui.js";

export async function catalogPage(app, view) {
  view.title("Event catalog", { text: "All event types that you can subscribe to, with their data." });
  view.root.append(loader(app, view, { fetch: () => app.catalog(), render: (catalog) => list(catalog), rows: 6 }));
}

function list(catalog) {
  const search = h("input", { class: "input", type: "search", placeholder: "Search events", "aria-label": "Search events" });
  const nothing = h("div", { hidden: true }, empty({ glyph: "search", title: "No matches", text: "No event types match this search." }));
  const groups = byCategory(catalog).map(([title, types]) => {
    const rows = types.map((type) => {
      const link = h("a", { class: "cover strong", href: `#/catalog/${encodeURIComponent(type.name)}` }, type.label || type.name);
      const row = h("li", {}, h("div", { class: "grow" }, h("div", { class: "catalog-name" }, link, h("code", {}, type.name)), type.description && h("p", { class: "under" }, type.description)), icon("chevron"));
      row.words = `${type.name} ${type.label} ${type.description} ${title}`.toLowerCase();
      return row;
    });
    return { rows, element: h("section", { class: "catalog-group" }, h("h2", {}, title), h("ul", { class: "card flush rows" }, rows)) };
  });
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { rows, element } of groups) {
      for (const row of rows) row.hidden = !words.every((word) => row.words.includes(word));
      element.hidden = rows.every((row) => row.hidden);
    }
    nothing.hidden = groups.some(({ element }) => !element.hidden);
  });
  return [h("div", { class: "filters" }, h("div", { class: "search" }, icon("search"), search)), groups.map(({ element }) => element), nothing];
}

export async function eventTypePage(app, view) {
  view.back("Event catalog", "#/catalog");
  view.title(view.params[0]);
  view.root.append(
    loader(app, view, {
      fetch: () => app.catalog(),
      render: (catalog) => {
        const type = catalog.find((one) => one.name === view.params[0]);
        if (!type) return failure({ status: 404 });
        const see = linkButton("See events", `#/events?type=${encodeURIComponent(type.name)}`, { glyph: "events" });
        view.title(type.label || type.name, { text: [h("code", {}, type.name), copyButton(type.name, "Copy event type")], actions: see });
        return [
          type.description && h("p", { class: "lead" }, type.description),
          card("Data", { className: "flush-table", note: "The fields of the data object." }, type.schema ? schemaTable(type.schema) : h("p", { class: "note" }, "This event type has no schema. See the example for what to expect.")),
          card("Example", { note: "The body of a delivery." }, codeBlock(examplePayload(type), { label: "Payload" })),
          card("Verify and receive", { note: "Check the signature of each delivery before you trust it." }, verification(app, type)),
        ];
      },
    }),
  );
}
