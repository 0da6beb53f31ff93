// Programs that read events over HTTP, for customers to paste into their own code. `url` is that of the events.

function list(url) {
  return `# The newest events
curl "${url}?limit=20" \\
  -H "Authorization: Bearer $API_KEY"
`;
}

function curl(url) {
  return `# Every event as it happens, as Server-Sent Events. Send the last id to continue after it.
curl -N "${url}/stream" \\
  -H "Authorization: Bearer $API_KEY" \\
  -H "Last-Event-ID: $LAST_EVENT_ID"
`;
}

function python(url) {
  return `# pip install httpx
import json
import os
import time

import httpx

URL = "${url}/stream"
HEADERS = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
last_id = ""  # Store it, to continue after a restart.

while True:
    try:
        headers = {**HEADERS, "Last-Event-ID": last_id}
        with httpx.stream("GET", URL, headers=headers, timeout=30) as response:
            response.raise_for_status()
            kind = ""
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if not line:
                    kind = ""
                elif name == "event":
                    kind = value
                elif name == "id":
                    last_id = value
                elif name == "data" and kind == "gap":
                    print("Some events are no longer stored.", flush=True)
                elif name == "data":
                    event = json.loads(value)
                    print(event["eventType"], event["payload"]["data"], flush=True)
    except httpx.HTTPError as error:
        print(f"Reconnecting: {error}", flush=True)
    time.sleep(2)
`;
}

function javascript(url) {
  return `// reader.mjs, for Node 18 or later, without packages
const url = "${url}/stream";
let lastId = ""; // Store it, to continue after a restart.

function take(frame) {
  const fields = Object.fromEntries(frame.split("\\n").map((line) => line.split(/: (.*)/s)));
  if (fields.id !== undefined) lastId = fields.id;
  if (fields.event === "gap") console.log("Some events are no longer stored.");
  else if (fields.data !== undefined) {
    const event = JSON.parse(fields.data);
    console.log(event.eventType, event.payload.data);
  }
}

async function follow() {
  const headers = { authorization: \`Bearer \${process.env.API_KEY}\`, "last-event-id": lastId };
  const response = await fetch(url, { headers });
  if (!response.ok) throw new Error(\`The server answered \${response.status}.\`);
  let text = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const frames = (text + chunk).split("\\n\\n");
    text = frames.pop();
    frames.forEach(take);
  }
}

for (;;) {
  await follow().catch((error) => console.log("Reconnecting:", error.message));
  await new Promise((resolve) => setTimeout(resolve, 2000));
}
`;
}

/** The readers by the name of their tab. */
export const READERS = { List: list, Stream: curl, Python: python, JavaScript: javascript };
