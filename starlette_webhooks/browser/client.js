// Reads the stream of events in a browser, or wherever there are `fetch` and web streams. It has no dependencies.

const FIRST_DELAY = 1000;
const LONGEST_DELAY = 30_000;
const LONGEST_WAIT = 300_000;
// A connection that was open for as long has worked, even without an event. Some proxies cut streams every few seconds.
const WORKED = 2000;
// An `EventSource` accepts a stream only, and then gets a stream for some errors. We read statuses.
const ACCEPT = "text/event-stream, application/json";
const REMEMBERED = 4096;

/** The server refused a call permanently. */
export class APIError extends Error {
  constructor(status, { code = "", detail = "" } = {}) {
    super(`The server answered ${status}${code && ` (${code})`}.${detail && ` ${detail}`}`);
    this.name = "APIError";
    this.status = status;
    this.code = code;
    this.detail = detail;
  }
}

/** Events are missing, because they are no longer stored. Iterate again to continue. */
export class Gap extends Error {
  constructor({ requested, oldest }) {
    super(`Events after ${requested} may be missing, because some are no longer stored.`);
    this.name = "Gap";
    this.requested = requested;
    this.oldest = oldest;
  }
}

/** The URL of the API, if this module was loaded from it. */
export const API = new URL(".", import.meta.url).href.replace(/\/$/, "");

/** Returns a stream of events, which reconnects and resumes forever: `for await (const event of stream())`. */
export function stream(options = {}) {
  return new EventStream(options);
}

class EventStream {
  #options;
  #parser = new Parser();
  #waiting = [];
  #seen = new Set();
  #connection = null;
  #reader = null;
  #connectedAt = 0;
  #hiddenSince = null;
  #failures = 0;
  #key;
  #closed = false;
  #wake = () => {};

  /** What to pass as `after` to continue later. */
  lastEventId;

  constructor(options) {
    this.#options = { url: API, timeout: 30_000, hiddenAfter: 30_000, eventTypes: [], ...options };
    this.lastEventId = options.after || null;
    if (options.after) this.#seen.add(options.after);
    options.signal?.addEventListener("abort", () => this.close(), { once: true });
    if (options.signal?.aborted) this.close();
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async next() {
    for (;;) {
      if (this.#closed) return { done: true, value: undefined };
      const event = this.#take();
      if (event) return { done: false, value: event };
      if (this.#isHidden()) {
        this.#disconnect();
        await this.#sleep(Infinity, document, "visibilitychange");
        continue;
      }
      try {
        this.#reader ??= await this.#connect();
        const { done, value } = await this.#receive();
        if (!done) {
          this.#waiting.push(...this.#parser.feed(value));
          continue;
        }
        this.#disconnect();
        await this.#pause(0);
      } catch (error) {
        this.#disconnect();
        if (!(error instanceof Unavailable)) throw error;
        await this.#pause(error.delay);
      }
    }
  }

  async return() {
    this.close();
    return { done: true, value: undefined };
  }

  /** Ends the stream. */
  close() {
    this.#closed = true;
    this.#disconnect();
    this.#wake();
  }

  #take() {
    for (let message; (message = this.#waiting.shift()); ) {
      this.#failures = 0;
      if (message.type === "gap") throw new Gap(JSON.parse(message.data));
      this.lastEventId = message.lastEventId || this.lastEventId;
      if (message.data === null || message.type !== "message") continue;
      const event = JSON.parse(message.data);
      if (this.#isNew(event.id)) return event;
    }
    return null;
  }

  #isNew(id) {
    // Svix may show an event again.
    if (this.#seen.has(id)) return false;
    this.#seen.add(id);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
    return true;
  }

  async #connect() {
    if (this.lastEventId === null) {
      // Where to continue if the connection ends before the first event.
      const response = await this.#call("/events/stream/position");
      this.lastEventId = JSON.parse(await this.#inTime(response.text())).lastEventId;
    }
    const { eventTypes, channel } = this.#options;
    const query = new URLSearchParams();
    if (eventTypes.length) query.set("event_type", eventTypes.join(","));
    if (channel) query.set("channel", channel);
    const response = await this.#call(`/events/stream?${query}`, { Accept: ACCEPT, "Last-Event-ID": this.lastEventId });
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
      throw new APIError(response.status, { detail: "The answer did not come from the API. Check `url`." });
    }
    this.#parser = new Parser(this.lastEventId, this.#parser.retry);
    this.#connectedAt = Date.now();
    return response.body.getReader();
  }

  async #call(path, headers = {}) {
    const { url, key, headers: own } = this.#options;
    for (let again = typeof key === "function"; ; again = false) {
      if (typeof key !== "function") this.#key = key;
      else if (this.#key === undefined) this.#key = await key();
      // `close` cannot interrupt a key function.
      if (this.#closed) throw new Unavailable();
      const authorization = this.#key ? { Authorization: `Bearer ${this.#key}` } : {};
      this.#connection = new AbortController();
      const { signal } = this.#connection;
      // Throws if the URL or a header is malformed, which would look like a server that cannot be reached.
      const request = new Request(url + path, {
        headers: { ...own, ...authorization, ...headers },
        cache: "no-store",
        signal,
      });
      const response = await this.#inTime(fetch(request));
      if (response.ok) return response;
      if (response.status !== 401 || !again) throw await failure(response);
      this.#key = undefined;
    }
  }

  #receive() {
    return this.#inTime(this.#reader.read());
  }

  /** Waits for the network. Anything that goes wrong there may work later. */
  async #inTime(promise) {
    const connection = this.#connection;
    const timer = setTimeout(() => connection.abort(), this.#options.timeout);
    try {
      return await promise;
    } catch {
      throw new Unavailable();
    } finally {
      clearTimeout(timer);
    }
  }

  #disconnect() {
    this.#connection?.abort();
    if (this.#reader !== null && Date.now() - this.#connectedAt >= WORKED) this.#failures = 0;
    this.#connection = this.#reader = null;
  }

  /** Whether the page has been hidden for so long that the connection serves nobody. */
  #isHidden() {
    if (!globalThis.document?.hidden) {
      this.#hiddenSince = null;
      return false;
    }
    this.#hiddenSince ??= Date.now();
    // Heartbeats bring the stream here every few seconds.
    return Date.now() - this.#hiddenSince >= this.#options.hiddenAfter;
  }

  async #pause(asked) {
    const delay = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
    const least = Math.min(Math.max(asked, this.#parser.retry), LONGEST_WAIT);
    await this.#sleep(Math.max(delay, least), globalThis, "online");
  }

  /** Sleeps until the time is over, an event happens, or the stream is closed. */
  async #sleep(milliseconds, target, type) {
    if (this.#closed) return;
    await new Promise((resolve) => {
      const timer = milliseconds === Infinity ? undefined : setTimeout(resolve, milliseconds);
      target.addEventListener?.(type, resolve);
      this.#wake = () => {
        clearTimeout(timer);
        target.removeEventListener?.(type, resolve);
        resolve();
      };
    });
    this.#wake();
  }
}

/** There is no connection at the moment. `delay` is what the server asked for, in milliseconds. */
class Unavailable extends Error {
  constructor(delay = 0) {
    super("The server cannot be reached.");
    this.delay = delay;
  }
}

async function failure(response) {
  const { status } = response;
  if (status === 408 || status === 429 || status >= 500) {
    return new Unavailable(1000 * (Number(response.headers.get("retry-after")) || 0));
  }
  return new APIError(status, await response.json().catch(() => ({})));
}

/** Turns the bytes of one connection into messages (HTML standard, section 9.2.6). */
class Parser {
  retry;
  #decoder = new TextDecoder();
  #rest = "";
  #afterReturn = false;
  #type = "";
  #data = [];
  #id;
  #lastId;

  constructor(lastEventId = "", retry = 0) {
    this.#id = this.#lastId = lastEventId;
    this.retry = retry;
  }

  feed(chunk) {
    let text = this.#decoder.decode(chunk, { stream: true });
    if (this.#afterReturn && text.startsWith("\n")) text = text.slice(1);
    if (text) this.#afterReturn = text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop();
    return lines.map((line) => (line ? this.#read(line) : this.#dispatch())).filter(Boolean);
  }

  #read(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
    return null;
  }

  #dispatch() {
    const moved = this.#id !== this.#lastId;
    const message = {
      type: this.#type || "message",
      data: this.#data.length ? this.#data.join("\n") : null,
      lastEventId: this.#id,
    };
    this.#lastId = this.#id;
    this.#type = "";
    this.#data = [];
    return moved || message.data !== null ? message : null;
  }
}
