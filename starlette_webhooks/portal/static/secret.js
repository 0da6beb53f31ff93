// The signing secret: reveal, copy, rotate.

import { fill, h } from "./dom.js";
import { path } from "./api.js";
import { confirm } from "./dialogs.js";
import { field, select } from "./forms.js";
import { time } from "./format.js";
import { button, card, copyButton, iconButton, notice, toast } from "./ui.js";

const HIDDEN = "whsec_••••••••••••••••";
const OVERLAPS = [["3600", "1 hour"], ["86400", "24 hours"], ["259200", "3 days"], ["604800", "7 days"], ["0", "Not at all: it has leaked"]];

/** The card with an endpoint's secret. It is fetched only when someone reveals or copies it. */
export function secretCard(app, endpoint) {
  if (!app.write) {
    return card("Signing secret", {}, h("p", { class: "note" }, "You need write access to see the secret."));
  }
  let key = null;
  let shown = false;
  const text = h("code", { class: "secret", "aria-live": "polite" }, HIDDEN);
  const load = async () => {
    key ??= (await app.api.get(path`endpoints/${endpoint.id}/secret`)).key;
    return key;
  };
  const paint = () => fill(text, shown ? key : HIDDEN);
  const reveal = iconButton("Reveal secret", "eye", async () => {
    await load();
    shown = !shown;
    reveal.setAttribute("aria-pressed", String(shown));
    paint();
  });
  const note = h("div", {});
  const rotate = button("Rotate", {
    small: true,
    glyph: "rotate",
    action: async () => {
      const overlap = select("Old secret stays valid for", OVERLAPS, "86400");
      overlap.removeAttribute("aria-label");
      const done = await confirm({
        title: "Rotate the signing secret?",
        text: [
          h("p", {}, "The new secret is used at once. While the old one stays valid, deliveries carry two signatures, one with each secret, so you have time to update your server."),
          field("Old secret stays valid for", overlap),
        ],
        label: "Rotate secret",
        action: async () => {
          key = (await app.api.post(path`endpoints/${endpoint.id}/secret/rotate`, { overlap: Number(overlap.value) })).key;
        },
      });
      if (!done) return;
      shown = true;
      paint();
      reveal.setAttribute("aria-pressed", "true");
      const seconds = Number(overlap.value);
      const end = new Date(Date.now() + seconds * 1000).toISOString();
      fill(note, notice("info", "This is the new secret. ", seconds ? ["The old one stays valid until ", time(end), "."] : "The old one is no longer valid."));
      toast("Secret rotated");
    },
  });
  return card(
    "Signing secret",
    { actions: rotate, note: "Verify the signature of each delivery with it." },
    h("div", { class: "secret-row" }, text, reveal, copyButton(load, "Copy secret")),
    note,
  );
}
