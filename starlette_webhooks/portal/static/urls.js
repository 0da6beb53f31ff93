// URLs of endpoints: shortened in the middle, with a masked query, because it may hold a token.

import { fill, h } from "./dom.js";
import { copyButton, iconButton } from "./ui.js";

const LONGEST = 64;
const MASK = "••••";

/** A text with its middle left out, if it is long. Both ends tell URLs apart. */
export function shortened(text, longest = LONGEST) {
  if (text.length <= longest) return text;
  const tail = Math.floor(longest * 0.4);
  return `${text.slice(0, longest - tail - 1)}…${text.slice(-tail)}`;
}

/** A URL without what may be secret. */
export function masked(url) {
  const [base, query] = url.split(/\?(.*)/s);
  return query ? `${base}?${MASK}` : base;
}

/** A URL in a line of text. */
export function urlText(url) {
  const [base, query] = url.split(/\?(.*)/s);
  const short = shortened(base);
  return h("span", { class: "mono break", title: short === base ? null : base }, short, query && `?${MASK}`);
}

/** A URL as `text`, with `tools` that show all of it and copy it. */
export function urlField(url) {
  const text = h("span", { class: "mono break" }, urlText(url));
  const hidden = masked(url) !== url || shortened(url) !== url;
  let whole = false;
  const reveal = iconButton("Show the whole URL", "eye", () => {
    whole = !whole;
    reveal.setAttribute("aria-pressed", String(whole));
    fill(text, whole ? url : urlText(url));
  });
  return { text, tools: h("span", { class: "url-tools" }, hidden && reveal, copyButton(url, "Copy URL")) };
}
