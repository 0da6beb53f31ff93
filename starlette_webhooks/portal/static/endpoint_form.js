// Adding and editing an endpoint.

import { fill, h, uid } from "./dom.js";
import { path } from "./api.js";
import { field, formError, problemOf } from "./forms.js";
import { loader } from "./lists.js";
import { typePicker } from "./type_picker.js";
import { busy, button, card, iconButton, linkButton, toast } from "./ui.js";

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const EMPTY = { url: "", description: "", eventTypes: [], channels: [], rateLimit: null, headers: [] };

export async function newEndpointPage(app, view) {
  view.back("Endpoints", "#/endpoints");
  view.title("Add endpoint", { text: "Your server receives a signed POST request for each event." });
  view.root.append(
    loader(app, view, {
      fetch: () => app.catalog(),
      render: (catalog) =>
        form(app, EMPTY, catalog, "Add endpoint", "#/endpoints", async (body) => {
          const made = await app.api.post("endpoints", body);
          app.go(`/endpoints/${encodeURIComponent(made.id)}?created`);
        }),
    }),
  );
}

export async function editEndpointPage(app, view) {
  const id = view.params[0];
  const home = `#/endpoints/${encodeURIComponent(id)}`;
  view.back("Endpoint", home);
  view.title("Edit endpoint");
  view.root.append(
    loader(app, view, {
      fetch: () => Promise.all([app.api.get(path`endpoints/${id}`, {}, view.signal), app.catalog()]),
      render: ([endpoint, catalog]) =>
        form(app, endpoint, catalog, "Save changes", home, async (body) => {
          await app.api.patch(path`endpoints/${id}`, body);
          toast("Changes saved");
          app.go(home.slice(1));
        }),
    }),
  );
}

function form(app, endpoint, catalog, label, home, save) {
  const url = h("input", { class: "input mono", type: "url", required: true, placeholder: "https://example.com/webhooks", autocomplete: "off", value: endpoint.url });
  const description = h("input", { class: "input", type: "text", maxlength: 1000, value: endpoint.description });
  const channels = h("input", { class: "input mono", type: "text", autocomplete: "off", value: endpoint.channels.join(", ") });
  const limit = h("input", { class: "input short", type: "number", min: 1, step: 1, inputmode: "numeric", value: endpoint.rateLimit ?? "" });
  const types = typePicker(catalog, endpoint.eventTypes);
  const headers = headerEditor(endpoint.headers ?? []);
  const origin = originOf(endpoint.url);
  url.addEventListener("input", () => headers.moved(origin !== null && ![origin, null].includes(originOf(url.value))));
  const error = h("div", {});
  const fields = {
    url: field("URL", url, { hint: "Your server must answer with a 2xx status within seconds, so do slow work afterwards. Redirects are not followed." }),
    description: field("Description", description, { optional: true }),
    eventTypes: types,
    channels: field("Channels", channels, { optional: true, hint: "Send only events in one of these channels. Separate them with commas. Leave empty to send all." }),
    rateLimit: field("Rate limit", limit, { optional: true, hint: "Maximum number of deliveries per second. Further deliveries wait." }),
    headers,
  };
  const submit = h("button", { type: "submit", class: "button primary" }, h("span", {}, label));
  const made = h(
    "form",
    { class: "form", novalidate: true },
    error,
    card("Destination", {}, fields.url, fields.description),
    card("Events", { note: "Which events to send here." }, types.element),
    card("Delivery", {}, fields.channels, fields.rateLimit, headers.element),
    h("div", { class: "form-foot" }, submit, linkButton("Cancel", home)),
  );
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(submit, async () => {
      formError(error, "");
      for (const one of Object.values(fields)) one.report("");
      const problems = { headers: headers.problem(), rateLimit: checkLimit(limit), eventTypes: types.problem(), url: checkUrl(url.value) };
      // The first field comes last, and gets the focus.
      for (const [name, words] of Object.entries(problems)) if (words) fields[name].report(words);
      if (Object.values(problems).some(Boolean)) return;
      const body = {
        url: url.value.trim(),
        description: description.value.trim(),
        eventTypes: types.value(),
        channels: [...new Set(channels.value.split(",").map((name) => name.trim()).filter(Boolean))],
        rateLimit: limit.value === "" ? null : Number(limit.value),
        ...(headers.changed() ? { headers: headers.value() } : {}),
      };
      try {
        await save(body);
      } catch (refused) {
        if (fields[refused.field]) fields[refused.field].report(refused.message);
        else formError(error, refused.message);
      }
    });
  });
  return made;
}

function originOf(text) {
  try {
    return new URL(text.trim()).origin;
  } catch {
    return null;
  }
}

function checkUrl(text) {
  try {
    if (["http:", "https:"].includes(new URL(text.trim()).protocol)) return null;
  } catch {
    // Falls through to the message.
  }
  return "Enter the full URL of your server, such as https://example.com/webhooks.";
}

function checkLimit(input) {
  if (!input.validity.badInput && (input.value === "" || /^[1-9]\d*$/.test(input.value))) return null;
  return "The rate limit must be a whole number of 1 or more. Leave it empty for no limit.";
}

/** Custom headers. Their values are never shown, so all of them are kept or all are replaced. */
function headerEditor(names) {
  const rows = h("div", { class: "header-rows" });
  let editing = names.length === 0;
  const add = (name = "") => {
    const key = h("input", { class: "input mono", type: "text", "aria-label": "Header name", placeholder: "x-api-key", autocomplete: "off", value: name });
    const value = h("input", { class: "input mono", type: "text", "aria-label": "Header value", placeholder: "Value", autocomplete: "off" });
    const row = h("div", { class: "header-row" }, key, value, iconButton("Remove header", "close", () => row.remove()));
    row.read = () => [key.value.trim(), value.value];
    rows.append(row);
    return key;
  };
  const place = h("div", {});
  const leaving = h("p", { class: "hint", role: "status" });
  const edit = () => fill(place, rows, button("Add header", { small: true, glyph: "plus", action: () => add().focus() }));
  if (editing) edit();
  else {
    const replace = button("Replace headers", {
      small: true,
      action: () => {
        editing = true;
        names.forEach((name) => add(name));
        edit();
        place.append(h("p", { class: "hint" }, "Values are never shown. Enter all of them again, because saving replaces all headers."));
        rows.querySelector("[aria-label='Header value']")?.focus();
      },
    });
    fill(place, h("div", { class: "chips" }, names.map((name) => h("code", { class: "chip" }, `${name}: ••••••`))), replace);
  }
  const read = () => [...rows.children].map((row) => row.read()).filter(([name, value]) => name || value);
  const id = uid("headers");
  const group = h("div", { class: "field", role: "group", "aria-labelledby": id, tabindex: "-1" }, h("span", { class: "label", id }, "Custom headers", h("span", { class: "optional" }, " optional")), place, leaving);
  const problem = problemOf(group);
  group.append(problem.element);
  return {
    element: group,
    report: (words) => {
      fill(problem.element, words);
      if (words) (rows.querySelector("input") ?? group).focus();
    },
    moved: (away) => {
      const gone = away && names.length > 0 && !editing;
      leaving.textContent = gone ? "Saving removes these headers, because the URL leads to another server. Replace the headers to send some there." : "";
    },
    changed: () => editing && (names.length > 0 || read().length > 0),
    value: () => Object.fromEntries(read()),
    problem: () => {
      const bad = editing && read().find(([name, value]) => !HEADER_NAME.test(name) || value === "");
      return bad ? bad[0] ? `The header ${bad[0]} needs a valid name and a value.` : "Every header needs a name." : null;
    },
  };
}
