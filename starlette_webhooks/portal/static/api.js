// The client of the public HTTP routes. It also tracks whether the server can be reached.

import { explain } from "./words.js";

/** An error response, with its message in words for people, and the field of a form that it is about. */
export class ApiError extends Error {
  constructor(status, code, words, field = null) {
    super(words);
    this.status = status;
    this.code = code;
    this.field = field;
  }
}

const PROBE_DELAYS = [1000, 2000, 4000, 8000, 15000];
const GATEWAY = new Set([502, 504]);

/** Dispatches `lost` when the server stops answering, `recovered` when it is back, and `ended` when the session is over. */
export class Api extends EventTarget {
  #probing = false;

  constructor(base) {
    super();
    this.base = base;
  }

  /** The absolute URL of a route, with a query. Empty values are left out. */
  url(path, query = {}) {
    const url = new URL(path, this.base);
    for (const [name, value] of Object.entries(query)) {
      for (const one of Array.isArray(value) ? value : [value]) {
        if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
      }
    }
    return url;
  }

  get(path, query, signal) {
    return this.#call("GET", this.url(path, query), undefined, signal);
  }

  post(path, body = {}, signal = undefined) {
    return this.#call("POST", this.url(path), body, signal);
  }

  patch(path, body) {
    return this.#call("PATCH", this.url(path), body);
  }

  delete(path) {
    return this.#call("DELETE", this.url(path));
  }

  async #call(method, url, body, signal) {
    const headers = { accept: "application/json" };
    if (body !== undefined) headers["content-type"] = "application/json";
    const options = { method, headers, signal, credentials: "same-origin", cache: "no-store" };
    if (body !== undefined) options.body = JSON.stringify(body);
    let response;
    try {
      response = await fetch(url, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      this.report();
      throw new ApiError(0, "unreachable", "The server cannot be reached.");
    }
    return this.#read(response);
  }

  async #read(response) {
    const text = await response.text();
    let document = null;
    try {
      document = text === "" ? null : JSON.parse(text);
    } catch {
      document = null;
    }
    if (response.ok) return document;
    if (response.status === 401) this.dispatchEvent(new Event("ended"));
    if (GATEWAY.has(response.status)) this.report();
    const code = String(document?.code ?? "error");
    const detail = typeof document?.detail === "string" ? document.detail : "";
    const { words, field } = explain(response.status, { code, detail }, response.headers.get("retry-after"));
    throw new ApiError(response.status, code, words, field);
  }

  /** Report that the server cannot be reached, and probe until it can. */
  async report() {
    if (this.#probing) return;
    this.#probing = true;
    this.dispatchEvent(new Event("lost"));
    for (let turn = 0; ; turn += 1) {
      await online(PROBE_DELAYS[Math.min(turn, PROBE_DELAYS.length - 1)]);
      try {
        const response = await fetch(this.url("event-types"), { credentials: "same-origin", cache: "no-store" });
        if (!GATEWAY.has(response.status)) break;
      } catch {
        continue;
      }
    }
    this.#probing = false;
    this.dispatchEvent(new Event("recovered"));
  }
}

function online(delay) {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      window.removeEventListener("online", finish);
      resolve();
    };
    const timer = setTimeout(finish, delay);
    window.addEventListener("online", finish);
  });
}

/** A path of the API with its variable parts escaped: path`endpoints/${id}/secret`. */
export function path(strings, ...values) {
  return strings.reduce((text, part, index) => text + encodeURIComponent(values[index - 1]) + part);
}
