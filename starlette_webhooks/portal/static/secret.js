// The signing secret: reveal, copy, rotate.

import { fill, h } from "./dom.js";
import { path } from "./api.js";
import { confirm } from "./dialogs.js";
import { button, card, copyButton, iconButton, notice, toast } from "./ui.js";

const HIDDEN = "whsec_••••••••••••••••";

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
      const done = await confirm({
        title: "Rotate the signing secret?",
        text: [
          h("p", {}, "The new secret is used at once. For the next 24 hours, deliveries carry two signatures, one with the new secret and one with the old one, so you have time to update your server."),
          h("p", {}, "After that, the old secret is no longer valid."),
        ],
        label: "Rotate secret",
        action: async () => {
          key = (await app.api.post(path`endpoints/${endpoint.id}/secret/rotate`)).key;
        },
      });
      if (!done) return;
      shown = true;
      paint();
      reveal.setAttribute("aria-pressed", "true");
      fill(note, notice("info", "This is the new secret. The old one stays valid for 24 hours."));
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
