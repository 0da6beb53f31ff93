// Shows times in the reader's zone, and refreshes pages whose content changes. Every page also works without this.

import { ago, time, zone } from "./format.js";

const RENEW = 3000;

function localise(root) {
  for (const shown of root.querySelectorAll("time")) {
    const text = shown.getAttribute("datetime");
    shown.replaceWith(shown.hasAttribute("data-ago") ? ago(text) : time(text));
  }
}

/** Whether the reader is using the content, which must not change meanwhile. */
function busy(content) {
  return content.contains(document.activeElement) || !getSelection().isCollapsed;
}

async function renew() {
  const content = document.getElementById("content");
  if (!content.hasAttribute("data-live")) return;
  if (!document.hidden && !busy(content)) await replace(content);
  setTimeout(renew, RENEW);
}

async function replace(content) {
  const stale = document.getElementById("stale");
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    // Otherwise it is another page, such as one to sign in.
    if (!fresh.getElementById("content")) throw new Error("The answer is not a page of the console.");
    localise(fresh);
    if (busy(content)) return;
    for (const id of ["content", "heading"]) document.getElementById(id).replaceWith(fresh.getElementById(id));
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  }
}

document.getElementById("zone").textContent = `Times are in the time zone ${zone()}.`;
localise(document);
setTimeout(renew, RENEW);
