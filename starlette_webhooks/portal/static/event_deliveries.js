// The deliveries of one event and their attempts, as the server tells them in pages.

import { path } from "./api.js";
import { afterFrame } from "./dom.js";
import { unlessNotSupported } from "./lists.js";

const MOST_ATTEMPTS = 1000;
// The first page is small, as it is what somebody waits for.
const FIRST = 50;
const PAGE = 250;

/** The deliveries to the first endpoints, `rest` for all if there are more, and the attempts as they become known. */
export async function readDeliveries(app, id, signal) {
  const paged = (cursor) => ({ limit: cursor === null ? FIRST : PAGE, cursor });
  const read = (cursor) => app.api.get(path`events/${id}/attempts`, paged(cursor), signal);
  const list = (cursor) => app.api.get(path`events/${id}/deliveries`, paged(cursor), signal);
  const [known, first] = await Promise.all([unlessNotSupported(list(null)), read(null)]);
  const tried = new Tried();
  tried.add(first.attempts);
  if (known !== null) {
    // Otherwise the server would be busy while the browser lays out the first ones.
    const shown = new Promise(afterFrame);
    const rest = isLast(known) ? null : shown.then(() => everyDelivery(list, known));
    // Whoever shows it shows its error.
    rest?.catch(() => {});
    shown.then(() => readOn(tried, read, first)).catch(() => {});
    return { deliveries: known.deliveries, rest, tried };
  }
  await readOn(tried, read, first);
  return { deliveries: guessed(await app.endpoints(signal), tried), rest: null, tried };
}

const isLast = (page) => page.done || !page.nextCursor;

async function readOn(tried, read, first) {
  let page = first;
  let found = page.attempts.length;
  while (!isLast(page) && found < MOST_ATTEMPTS) {
    page = await read(page.nextCursor);
    found += page.attempts.length;
    tried.add(page.attempts);
  }
}

/** The attempts of an event by the id of their endpoint, newest first. */
class Tried {
  #found = new Map();
  #shown = new Map();
  #listeners = [];

  add(attempts) {
    const changed = new Set();
    for (const attempt of attempts) {
      const { endpointId } = attempt;
      if (!this.#found.has(endpointId)) this.#found.set(endpointId, []);
      this.#found.get(endpointId).push(attempt);
      changed.add(endpointId);
    }
    for (const id of changed) this.#shown.get(id)?.(this.#found.get(id));
    this.#listeners.forEach((listener) => listener(attempts));
  }

  /** Call `draw` with the attempts to an endpoint, now and when more of them are known. */
  show(id, draw) {
    this.#shown.set(id, draw);
    draw(this.#found.get(id) ?? []);
  }

  /** Call `listener` with the attempts that are known, and with those that become known. */
  onAdd(listener) {
    this.#listeners.push(listener);
    listener([...this.#found.values()].flat());
  }

  entries() {
    return [...this.#found];
  }

  has(id) {
    return this.#found.has(id);
  }
}

async function everyDelivery(list, first) {
  const found = [...first.deliveries];
  for (let page = first; !isLast(page); ) {
    page = await list(page.nextCursor);
    found.push(...page.deliveries);
  }
  return found;
}

/** The deliveries that attempts show, for servers that do not list deliveries. */
function guessed(endpoints, tried) {
  const known = new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
  const stateOf = ([last]) => (last.status === "success" ? "delivered" : last.nextAttemptAt ? "failing" : "exhausted");
  const made = tried.entries().map(([endpointId, attempts]) => ({
    endpointId,
    url: known.get(endpointId)?.url ?? attempts[0].url,
    state: stateOf(attempts),
    attempts: attempts.length,
    nextAttemptAt: attempts[0].nextAttemptAt,
    endpointDisabled: known.get(endpointId)?.disabled ?? false,
    deleted: !known.has(endpointId),
  }));
  const others = endpoints.filter((endpoint) => !tried.has(endpoint.id));
  return [...made, ...others.map((endpoint) => ({ endpointId: endpoint.id, url: endpoint.url, state: "unsent", endpointDisabled: endpoint.disabled }))];
}
