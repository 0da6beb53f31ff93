// Boots the page: navigation, routes, the state of the connection.

import { Api } from "./api.js";
import { catalogPage, eventTypePage } from "./catalog.js";
import { fill, h, visible } from "./dom.js";
import { endpointPage } from "./endpoint.js";
import { editEndpointPage, newEndpointPage } from "./endpoint_form.js";
import { endpointsPage } from "./endpoints.js";
import { eventPage } from "./event.js";
import { eventsPage } from "./events.js";
import { refreshTimes, zone } from "./format.js";
import { icon } from "./icons.js";
import { livePage } from "./live.js";
import { startPage } from "./start.js";
import { button, failure, toast } from "./ui.js";
import { undeliveredPage } from "./undelivered.js";

const NAVIGATION = [["start", "Getting started"], ["endpoints", "Endpoints"], ["events", "Events"], ["undelivered", "Undelivered"], ["live", "Live"], ["catalog", "Event catalog"]];
const ROUTES = [
  [/^start$/, startPage],
  [/^endpoints$/, endpointsPage],
  [/^endpoints\/new$/, newEndpointPage, "write"],
  [/^endpoints\/([^/]+)$/, endpointPage],
  [/^endpoints\/([^/]+)\/edit$/, editEndpointPage, "write"],
  [/^events$/, eventsPage],
  [/^events\/([^/]+)$/, eventPage],
  [/^undelivered$/, undeliveredPage],
  [/^live$/, livePage],
  [/^catalog$/, catalogPage],
  [/^catalog\/([^/]+)$/, eventTypePage],
];
const BUILT_IN = new Set(["test.ping", "endpoint.disabled"]);
const TICK = 20_000;

class Portal {
  #catalog = null;
  #leave = null;
  #ended = false;

  constructor(settings) {
    this.api = new Api(new URL(settings.api, location.href));
    this.public = new URL(settings.public ? `${settings.public}/` : settings.api, location.href);
    this.write = settings.write === "true";
    this.brand = settings.brand;
    this.signature = settings.signature;
    this.logo = settings.logo;
    this.out = settings.out;
    this.tenant = settings.tenant;
    this.alone = settings.nav === "none";
  }

  /** The event types, fetched once. */
  catalog() {
    this.#catalog ??= this.api.get("event-types").then(
      // The host's own types first, then those that come with the package.
      ({ eventTypes }) => [...eventTypes.filter((type) => !BUILT_IN.has(type.name)), ...eventTypes.filter((type) => BUILT_IN.has(type.name))],
      (error) => {
        this.#catalog = null;
        throw error;
      },
    );
    return this.#catalog;
  }

  /** Every endpoint, page by page. */
  async *endpointPages(signal) {
    let cursor = null;
    do {
      const page = await this.api.get("endpoints", { limit: 250, cursor }, signal);
      yield page.endpoints;
      cursor = page.done ? null : page.nextCursor;
    } while (cursor);
  }

  /** Every endpoint. */
  async endpoints(signal) {
    const all = [];
    for await (const page of this.endpointPages(signal)) all.push(...page);
    return all;
  }

  go(address) {
    location.hash = address;
  }

  start() {
    this.main = h("main", { id: "main", tabindex: "-1" });
    this.banner = h("div", { class: "banner", role: "alert", hidden: true });
    const skip = h("a", { class: "skip", href: "#main" }, "Skip to content");
    skip.addEventListener("click", (event) => {
      event.preventDefault();
      this.main.focus();
    });
    const foot = h("footer", { class: "zone" }, `Times are in the time zone ${zone()}.`);
    fill(
      document.getElementById("app"),
      skip,
      h("div", { class: this.alone ? "frame alone" : "frame" }, this.#sidebar(), h("div", { class: "content" }, this.banner, this.main, foot)),
      h("div", { id: "toasts", role: "status" }),
      h("div", { id: "announcer", class: "visually-hidden", "aria-live": "polite" }),
    );
    this.#watch();
    window.addEventListener("hashchange", () => this.#show());
    window.addEventListener("message", followTheme);
    setInterval(refreshTimes, TICK);
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.closest("input, textarea, select, dialog")) return;
      const search = this.main.querySelector("input[type=search]");
      if (search) event.preventDefault();
      search?.focus();
    });
    return this.#show();
  }

  #sidebar() {
    this.links = [];
    // The page that has ours in a frame navigates by the fragment of our address.
    if (this.alone) return null;
    const mark = this.logo ? h("img", { class: "logo", src: this.logo, alt: "" }) : h("span", { class: "mark", "aria-hidden": "true" }, icon("live"));
    this.links = NAVIGATION.map(([name, label]) => h("a", { class: "nav-link", href: `#/${name}`, data: { name } }, icon(name), h("span", {}, label)));
    const note = this.write ? null : h("p", { class: "read-only" }, icon("lock"), "Read only");
    return h("header", { class: "sidebar" }, h("div", { class: "brand" }, mark, h("div", {}, h("div", {}, this.brand), h("div", { class: "tenant", title: "Whose webhooks these are" }, this.tenant))), h("nav", { "aria-label": "Webhooks" }, this.links), note, this.#signOut());
  }

  // A session of a link is ours to end. That of the host is not.
  #signOut() {
    if (!this.out) return null;
    return h("form", { class: "sign-out", method: "post", action: this.out }, h("button", { type: "submit", class: "button small" }, h("span", {}, "Sign out")));
  }

  #watch() {
    const say = (words, action = null) => {
      fill(this.banner, icon("warning"), h("span", {}, words), action);
      this.banner.hidden = false;
    };
    this.api.addEventListener("lost", () => this.#ended || say("Connection lost. Reconnecting…"));
    this.api.addEventListener("recovered", () => {
      if (this.#ended) return;
      this.banner.hidden = true;
      toast("Reconnected");
    });
    this.api.addEventListener("ended", () => {
      this.#ended = true;
      say("Your session has ended. Sign in again, then reload this page.", button("Reload", { small: true, action: () => location.reload() }));
    });
    window.addEventListener("offline", () => this.api.report());
  }

  async #show() {
    const [address, search = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
    if (address === "") return this.#home();
    this.#leave?.abort();
    document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
    this.#leave = new AbortController();
    for (const link of this.links) {
      const here = link.dataset.name === address.split("/")[0];
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      if (here) requestAnimationFrame(() => (link.parentElement.scrollLeft = link.offsetLeft - 60));
    }
    const view = new View(this, address, new URLSearchParams(search), this.#leave.signal);
    fill(this.main, view.head, view.root);
    this.main.parentElement.classList.remove("selecting");
    // Both lay the page out, for which there is no need the first time.
    if (this.visited) window.scrollTo(0, 0);
    const [page, params] = this.#find(address);
    view.params = params;
    if (page === null) {
      view.title("Not found");
      return void fill(view.root, failure({ status: 404 }));
    }
    if (this.visited) this.main.focus({ preventScroll: true });
    this.visited = true;
    try {
      await page(this, view);
    } catch (error) {
      if (error.name !== "AbortError") fill(view.root, failure(error, () => this.#show()));
    }
  }

  // Without endpoints, the guide comes first.
  async #home() {
    const answer = await this.api.get("endpoints", { limit: 1 }).catch(() => null);
    location.replace(answer?.endpoints.length === 0 ? "#/start" : "#/endpoints");
  }

  #find(address) {
    for (const [pattern, page, scope] of ROUTES) {
      const match = pattern.exec(address);
      if (match && (scope !== "write" || this.write)) return [page, match.slice(1).map(decode)];
    }
    return [null, []];
  }
}

/** The page that has ours in a frame may change the theme: `{theme: "light" | "dark" | "system"}`. */
function followTheme({ source, data }) {
  // Which pages may have ours in a frame is for the Content-Security-Policy to say.
  if (source !== window.parent || source === window || !["light", "dark", "system"].includes(data?.theme)) return;
  if (data.theme === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = data.theme;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A page while it is shown: its root element, its address, and a signal that aborts when the page is left. */
class View {
  constructor(portal, address, query, signal) {
    this.brand = portal.brand;
    this.address = address;
    this.query = query;
    this.signal = signal;
    this.root = h("div", { class: "page" });
    this.crumb = h("div", { class: "crumb" });
    this.heading = h("div", {});
    this.head = h("div", { class: "page-head" }, this.crumb, this.heading);
  }

  /** The heading of the page, with its actions. */
  title(text, { mono = false, shown = text, badge = null, text: note = null, actions = null } = {}) {
    if (this.signal.aborted) return;
    document.title = visible(`${text} · ${this.brand}`);
    fill(
      this.heading,
      h(
        "div",
        { class: "heading" },
        h("div", { class: "heading-text" }, h("div", { class: "heading-line" }, h("h1", { class: mono ? "mono break" : null }, shown), badge), note && h("div", { class: "sub" }, note)),
        actions && h("div", { class: "actions" }, actions),
      ),
    );
  }

  /** A link to the page above. */
  back(label, href) {
    fill(this.crumb, h("a", { href }, icon("back"), label));
  }

  /** Keep filters in the address, so that a reload or a shared link shows the same. */
  setQuery(values) {
    const kept = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== ""));
    history.replaceState(null, "", `#/${this.address}${kept.size ? `?${kept}` : ""}`);
  }
}

// A task of its own. The browser ends that of the script with a layout of the page.
setTimeout(() => new Portal(document.body.dataset).start());
