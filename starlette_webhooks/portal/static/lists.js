// Loading (skeleton, content, error), and lists that load page by page.

import { afterFrame, fill, h } from "./dom.js";
import { number } from "./format.js";
import { busy, button, failure, skeleton } from "./ui.js";

const PART = 20;
// Milliseconds until a list shows that it is loading.
const SOON = 250;
// So few that laying them out takes no long task.
const ROWS = 4;

/** An element that loads: `fetch()` gets the value, `render(value)` shows it. `.reload()` fetches it again without flicker, and `.shown` resolves after the frame that shows it first. */
export function loader(app, view, { fetch, render, rows = 4 }) {
  const place = h("div", { class: "loader", vars: { "--rows": rows } });
  let failed = false;
  let latest = 0;
  let slow = null;
  const run = async () => {
    latest += 1;
    const turn = latest;
    // The answer to an earlier call may come after that to a later one.
    const isOld = () => view.signal.aborted || turn !== latest;
    try {
      const value = await fetch();
      if (isOld()) return;
      failed = false;
      show(render(value));
    } catch (error) {
      if (error.name === "AbortError" || isOld()) return;
      failed = true;
      show(failure(error, first));
    }
  };
  const show = (shown) => {
    clearTimeout(slow);
    place.removeAttribute("aria-busy");
    fill(place, shown);
  };
  const first = () => {
    place.setAttribute("aria-busy", "true");
    fill(place);
    // Most answers come sooner, and would only replace it.
    slow = setTimeout(() => fill(place, skeleton(rows)), SOON);
    return run();
  };
  app.api.addEventListener("recovered", () => failed && first(), { signal: view.signal });
  place.shown = first().then(() => new Promise(afterFrame));
  place.reload = run;
  return place;
}

/** The answer to a call, or null if the service behind the server does not support it. */
export async function unlessNotSupported(answer) {
  try {
    return await answer;
  } catch (error) {
    if (error.status === 501) return null;
    throw error;
  }
}

/** A table that loads page by page, newest first. `fetch(cursor)` gets `{items, nextCursor, done}`. */
export function pagedTable(app, view, { label, head, fetch, row, blank }) {
  const render = (page) => {
    if (page.items.length === 0 && (page.done || !page.nextCursor)) return blank();
    const body = h("tbody", {});
    addRows(body, page.items, row);
    const made = table(label, head, body);
    const foot = h("div", { class: "table-foot" });
    const extend = (last) => {
      made.hidden = body.children.length === 0;
      if (last.done || !last.nextCursor) {
        if (made.hidden) made.replaceWith(blank());
        return fill(foot);
      }
      // A page of a list with filters may be empty before the last one.
      const more = button(made.hidden ? "Keep looking" : "Load more", { small: true });
      more.addEventListener("click", () =>
        busy(more, async () => {
          const next = await fetch(last.nextCursor);
          const [first] = addRows(body, next.items, row);
          extend(next);
          (first ?? foot).querySelector("a, button")?.focus();
        }),
      );
      return fill(foot, made.hidden && h("span", { class: "note" }, "Nothing found so far. "), more);
    };
    extend(page);
    return [made, foot];
  };
  return loader(app, view, { fetch: () => fetch(null), render, rows: 6 });
}

/** Add rows to a list: the first few now, the others part by part after the next frames, so that none takes long. */
function addRows(list, items, row) {
  const rows = items.slice(0, ROWS).map(row);
  list.append(...rows);
  const rest = items.slice(ROWS);
  // What was loaded again meanwhile has a new list.
  if (rest.length > 0) afterFrame(() => list.isConnected && addRows(list, rest, row));
  return rows;
}

/** The first few items in a list of this tag, and a button for more. A thousand at once would block the page. */
export function inParts(tag, items, row) {
  const list = h(tag, {});
  const foot = h("div", { class: "table-foot" });
  let shown = 0;
  const extend = () => {
    const rows = addRows(list, items.slice(shown, shown + PART), row);
    shown = Math.min(shown + PART, items.length);
    const left = items.length - shown;
    const more = () => (extend()[0].querySelector("a, button") ?? foot.querySelector("button"))?.focus();
    fill(foot, left > 0 && button(`Show more (${number(left)} left)`, { small: true, action: more }));
    return rows;
  };
  extend();
  return [list, foot];
}

/** A table: `head` is `[[label, class], ...]`. */
export function table(label, head, body) {
  const cells = head.map(([text, name]) => h("th", { scope: "col", class: name || null }, text || h("span", { class: "visually-hidden" }, "More")));
  rowsOpen(body, "tr");
  return h("table", { class: "table", "aria-label": label }, h("thead", {}, h("tr", {}, cells)), body);
}

/** A row opens by a click anywhere, except on an id. Text in it can be selected without opening it. */
export function rowsOpen(body, selector) {
  body.addEventListener(
    "click",
    (event) => {
      const cover = event.target.closest(selector)?.querySelector(".cover");
      const inside = event.target.closest("a, button, input, label, .row-id");
      if (!cover || (inside && inside !== cover)) return;
      // Keyboards and scripts send clicks without a position.
      if (event.detail > 0 && !getSelection().isCollapsed) {
        event.preventDefault();
        event.stopPropagation();
      } else if (!inside) {
        const { ctrlKey, metaKey, shiftKey } = event;
        cover.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, ctrlKey, metaKey, shiftKey }));
      }
    },
    true,
  );
}
