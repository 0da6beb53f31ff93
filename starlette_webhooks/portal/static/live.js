// Events as they happen, by Server-Sent Events.

import { fill, h } from "./dom.js";
import { open } from "./dialogs.js";
import { preview } from "./events.js";
import { typeSelect } from "./forms.js";
import { count, time } from "./format.js";
import { rowsOpen } from "./lists.js";
import { button, codeBlock, copyButton, empty, linkButton, notice, pill, rowLink } from "./ui.js";

const MAX_ROWS = 500;
const RECENT = 20;
const BACKOFF = [1000, 2000, 5000, 10_000, 30_000];

export async function livePage(app, view) {
  const state = h("span", { role: "status" }, pill("warn", "Connecting…"));
  const pause = button("Pause", { glyph: "pause" });
  view.title("Live", { text: "New events appear at the top as they happen.", badge: state, actions: pause });
  const rows = h("ol", { class: "live", "aria-label": "Live events" });
  rowsOpen(rows, "li");
  const blank = empty({ glyph: "live", title: "Listening", text: "No events since you opened this page." });
  const hint = h("div", {});
  const place = h("div", { class: "card flush" }, hint, rows, blank);
  const seen = new Set();
  let held = [];
  let paused = false;

  const show = (event, fresh) => {
    if (seen.has(event.id)) return;
    seen.add(event.id);
    blank.remove();
    rows.prepend(liveRow(event, fresh));
    while (rows.children.length > MAX_ROWS) {
      seen.delete(rows.lastChild.dataset.id);
      rows.lastChild.remove();
    }
  };
  const take = (event) => {
    if (!paused) return show(event, true);
    held.push(event);
    if (held.length > MAX_ROWS) held.shift();
    fill(hint, h("p", { class: "held" }, `${count(held.length, "new event")} while paused`));
  };
  pause.addEventListener("click", () => {
    paused = !paused;
    fill(pause.lastChild, paused ? "Resume" : "Pause");
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) return stream.say();
    for (const event of held) show(event, true);
    held = [];
    fill(hint);
    stream.say();
  });

  const gap = (words) => rows.prepend(h("li", { class: "gap" }, notice("warn", words)));
  const stream = follow(app, view, take, gap, (kind, words) => fill(state, paused && kind === "good" ? pill("quiet", "Paused") : pill(kind, words)));
  const types = h("span", { class: "slot" }, typeSelect("Event type", [], "", () => {}));
  app.catalog().then((catalog) => fill(types, typeSelect("Event type", catalog, "", (type) => {
    rows.replaceChildren();
    seen.clear();
    start(type);
  }))).catch(() => {});
  view.root.append(h("div", { class: "filters" }, types), place);

  const start = async (type) => {
    stream.open(type);
    const page = await app.api.get("events", { limit: RECENT, event_type: type }, view.signal).catch(() => ({ events: [] }));
    // What arrived meanwhile is newer than these, so they go below it.
    for (const event of page.events) {
      if (seen.has(event.id)) continue;
      seen.add(event.id);
      blank.remove();
      rows.append(liveRow(event, false));
    }
  };
  await start("");
}

function liveRow(event, fresh) {
  const address = `#/events/${encodeURIComponent(event.id)}`;
  const shown = rowLink(address, { className: "strong", show: () => showEvent(event) }, event.eventType);
  return h(
    "li",
    { class: fresh ? "fresh" : null, data: { id: event.id } },
    h("span", { class: "live-time" }, time(event.timestamp)),
    h("div", { class: "grow" }, shown, h("div", { class: "under preview" }, preview(event.payload?.data))),
  );
}

function showEvent(event) {
  const go = linkButton("Open event", `#/events/${encodeURIComponent(event.id)}`, { small: true });
  const describe = h("p", { class: "dialog-note" }, h("span", { class: "mono break" }, event.id), copyButton(event.id, "Copy event id"), " · ", time(event.timestamp));
  const made = open(event.eventType, { className: "sheet", describe }, h("div", { class: "actions" }, go), codeBlock(event.payload, { label: "Payload" }));
  go.addEventListener("click", () => made.close());
}

/** Keeps a stream open. The browser reconnects by itself and resumes by the last id; where it gives up, we reconnect. */
function follow(app, view, take, gap, tell) {
  let source = null;
  let timer = 0;
  let failures = 0;
  let last = null;
  let filter = "";
  let current = ["warn", "Connecting…"];
  const say = (...words) => {
    if (words.length) current = words;
    tell(...current);
  };
  const close = () => {
    clearTimeout(timer);
    source?.close();
  };
  const connect = () => {
    close();
    if (view.signal.aborted) return;
    source = new EventSource(app.api.url("events/stream", { event_type: filter, last_event_id: last }));
    source.onopen = () => {
      failures = 0;
      say("good", "Live");
    };
    source.onmessage = (message) => {
      if (message.lastEventId) last = message.lastEventId;
      if (message.data) take(JSON.parse(message.data));
    };
    source.addEventListener("gap", () => gap("Some events in between are no longer stored."));
    source.onerror = () => {
      say("warn", "Reconnecting…");
      // A stream does not say whether the session has ended. This call does.
      app.api.get("events", { limit: 1 }, view.signal).catch(() => {});
      if (source.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(connect, BACKOFF[Math.min(failures, BACKOFF.length - 1)]);
      failures += 1;
    };
  };
  const restart = (type) => {
    filter = type;
    last = null;
    say("warn", "Connecting…");
    connect();
  };
  window.addEventListener("online", connect, { signal: view.signal });
  window.addEventListener("offline", () => say("warn", "Offline"), { signal: view.signal });
  view.signal.addEventListener("abort", close);
  return { open: restart, say };
}
