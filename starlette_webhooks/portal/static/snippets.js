// Snippets for customers to paste into their own code, in tabs.

import { READERS } from "./readers.js";
import { RECEIVERS } from "./receivers.js";
import { tabs, codeBlock } from "./ui.js";

const example = (type) => ({ type: type.name, timestamp: "2026-01-31T09:30:00.000Z", data: type.example ?? {} });
const prefixOf = (style) => (style === "svix" ? "svix" : "webhook");

/** A payload of an event type, as it is delivered. */
export function examplePayload(type) {
  return JSON.stringify(example(type), null, 2);
}

/** A shell script that signs an example and sends it, to try a receiver without this server. */
export function shell(type, prefix) {
  const body = JSON.stringify(example(type)).replaceAll("'", "'\\''");
  return `# Signs an example and sends it to your receiver. Requires openssl.
secret="$WEBHOOK_SECRET"   # whsec_...
url="\${RECEIVER_URL:-http://localhost:3000/webhooks}"
id="msg_example"
timestamp="$(date +%s)"
body='${body}'

key="$(printf %s "\${secret#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d " \\n")"
signature="$(printf %s "$id.$timestamp.$body" |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)"

curl -i "$url" \\
  -H "content-type: application/json" \\
  -H "${prefix}-id: $id" \\
  -H "${prefix}-timestamp: $timestamp" \\
  -H "${prefix}-signature: v1,$signature" \\
  --data-binary "$body"
`;
}

const block = (text, name, what) => codeBlock(text, { language: "code", label: `${name} ${what}`, title: name });

/** How to receive and verify, by language, and how to try it. */
export function verification(app, type) {
  const prefix = prefixOf(app.signature);
  const receivers = Object.entries(RECEIVERS).map(([name, make]) => [name, () => block(make(prefix), name, "code")]);
  return tabs("Language", [...receivers, ["curl", () => block(shell(type, prefix), "curl", "code")]]);
}

/** How to read events over HTTP. */
export function reading(app) {
  const url = new URL("events", app.public).href;
  return tabs("Way of reading", Object.entries(READERS).map(([name, make]) => [name, () => block(make(url), name, "command")]));
}
