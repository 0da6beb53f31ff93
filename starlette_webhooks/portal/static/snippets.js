// Snippets for customers to paste into their own code.

import { tabs, codeBlock } from "./ui.js";

const example = (type) => ({ type: type.name, timestamp: "2026-01-31T09:30:00.000Z", data: type.example ?? {} });

/** A payload of an event type, as it is delivered. */
export function examplePayload(type) {
  return JSON.stringify(example(type), null, 2);
}

/** A receiver in Python. Anyone can send anything, so a malformed signature is answered like a wrong one. */
export function python(style) {
  const svix = style === "svix";
  return `# pip install ${svix ? "svix" : "standardwebhooks"} flask
import os

from flask import Flask, request
from ${svix ? "svix.webhooks" : "standardwebhooks"} import Webhook, WebhookVerificationError

app = Flask(__name__)
webhook = Webhook(os.environ["WEBHOOK_SECRET"])  # whsec_...


@app.post("/webhooks")
def receive():
    try:
        webhook.verify(request.get_data(), dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return "", 400
    event = request.get_json()
    print(event["type"], event["data"])
    return "", 204
`;
}

function javascript(style) {
  const name = style === "svix" ? "svix" : "standardwebhooks";
  return `// npm install ${name} express
import express from "express";
import { Webhook } from "${name}";

const app = express();
const webhook = new Webhook(process.env.WEBHOOK_SECRET); // whsec_...

app.post("/webhooks", express.raw({ type: "application/json" }), (request, response) => {
  let event;
  try {
    event = webhook.verify(request.body.toString(), request.headers);
  } catch {
    return response.status(400).end();
  }
  console.log(event.type, event.data);
  response.status(204).end();
});

app.listen(3000);
`;
}

/** A shell script that signs an example and sends it, to try a receiver without this server. */
export function shell(type, style) {
  const prefix = style === "svix" ? "svix" : "webhook";
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

/** How to verify a signature, in three languages. */
export function verification(app, type) {
  const block = (text, language, name) => codeBlock(text, { language, label: `${name} code`, title: name });
  return tabs("Language", [
    ["Python", () => block(python(app.signature), "code", "Python")],
    ["JavaScript", () => block(javascript(app.signature), "code", "JavaScript")],
    ["curl", () => block(shell(type, app.signature), "code", "curl")],
  ]);
}

/** How to read events over HTTP. */
export function reading(app) {
  const events = new URL("events", app.public).href;
  const stream = new URL("events/stream", app.public).href;
  const block = (text, name) => codeBlock(text, { language: "code", label: `${name} command`, title: name });
  return tabs("Way of reading", [
    ["List", () => block(`# The newest events\ncurl "${events}?limit=20" \\\n  -H "Authorization: Bearer $API_KEY"\n`, "List")],
    ["Stream", () => block(`# Every event as it happens, as Server-Sent Events\ncurl -N "${stream}" \\\n  -H "Authorization: Bearer $API_KEY"\n`, "Stream")],
    ["Resume", () => block(`# Everything after the last event that you saw, then live\ncurl -N "${stream}" \\\n  -H "Authorization: Bearer $API_KEY" \\\n  -H "Last-Event-ID: msg_..."\n`, "Resume")],
  ]);
}
