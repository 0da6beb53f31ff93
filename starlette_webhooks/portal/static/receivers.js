// Receivers for customers to paste into their own code. Anyone can send anything, so malformed headers are answered like
// wrong ones. Every function returns the text of one file; `prefix` is that of the signature headers.

const library = (prefix) => (prefix === "svix" ? "svix" : "standardwebhooks");
const imported = (prefix) => `from ${prefix === "svix" ? "svix.webhooks" : "standardwebhooks"} import Webhook, WebhookVerificationError`;

function fastapi(prefix) {
  return `# pip install ${library(prefix)} "fastapi[standard]"
import os

from fastapi import FastAPI, Request, Response
${imported(prefix)}

app = FastAPI()
webhook = Webhook(os.environ["WEBHOOK_SECRET"])  # whsec_...


@app.post("/webhooks")
async def receive(request: Request) -> Response:
    try:
        webhook.verify(await request.body(), dict(request.headers))
        event = await request.json()
    except (WebhookVerificationError, ValueError):
        return Response(status_code=400)
    print(event["type"], event["data"])
    return Response(status_code=204)
`;
}

function flask(prefix) {
  return `# pip install ${library(prefix)} flask
import json
import os

from flask import Flask, request
${imported(prefix)}

app = Flask(__name__)
webhook = Webhook(os.environ["WEBHOOK_SECRET"])  # whsec_...


@app.post("/webhooks")
def receive():
    try:
        webhook.verify(request.get_data(), dict(request.headers))
        event = json.loads(request.get_data())
    except (WebhookVerificationError, ValueError):
        return "", 400
    print(event["type"], event["data"])
    return "", 204
`;
}

function django(prefix) {
  return `# pip install ${library(prefix)} django
import json
import os

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
${imported(prefix)}

webhook = Webhook(os.environ["WEBHOOK_SECRET"])  # whsec_...


@csrf_exempt
@require_POST
def receive(request: HttpRequest) -> HttpResponse:
    try:
        webhook.verify(request.body, dict(request.headers))
        event = json.loads(request.body)
    except (WebhookVerificationError, ValueError):
        return HttpResponse(status=400)
    print(event["type"], event["data"])
    return HttpResponse(status=204)


urlpatterns = [path("webhooks", receive)]
`;
}

function node(prefix) {
  return `// receiver.mjs, for Node 18 or later, without packages
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const key = Buffer.from(process.env.WEBHOOK_SECRET.replace("whsec_", ""), "base64");

function isGenuine(headers, body) {
  const id = headers["${prefix}-id"];
  const timestamp = headers["${prefix}-timestamp"];
  const age = Math.abs(Date.now() / 1000 - Number(timestamp));
  if (!id || !(age < 300)) return false;
  const digest = createHmac("sha256", key).update(\`\${id}.\${timestamp}.\`).update(body).digest("base64");
  const expected = Buffer.from(\`v1,\${digest}\`);
  return String(headers["${prefix}-signature"]).split(" ").some((text) => {
    const given = Buffer.from(text);
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}

const server = createServer(async (request, response) => {
  try {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    if (!isGenuine(request.headers, body)) return response.writeHead(400).end();
    const event = JSON.parse(body);
    console.log(event.type, event.data);
    response.writeHead(204).end();
  } catch {
    response.writeHead(400).end();
  }
});

server.listen(3000);
`;
}

function go(prefix) {
  return `// receiver.go, without packages
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func isGenuine(key []byte, header http.Header, body []byte) bool {
	id, timestamp := header.Get("${prefix}-id"), header.Get("${prefix}-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || id == "" || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, given := range strings.Fields(header.Get("${prefix}-signature")) {
		if hmac.Equal([]byte(given), []byte(expected)) {
			return true
		}
	}
	return false
}

func main() {
	secret := strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_")
	key, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/webhooks", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil || !isGenuine(key, r.Header, body) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var event struct {
			Type string          \`json:"type"\`
			Data json.RawMessage \`json:"data"\`
		}
		if json.Unmarshal(body, &event) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		fmt.Println(event.Type, string(event.Data))
		w.WriteHeader(http.StatusNoContent)
	})
	log.Fatal(http.ListenAndServe(":3000", nil))
}
`;
}

function java(prefix) {
  return `// Receiver.java, for Java 17 or later, without packages: java Receiver.java
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import java.util.concurrent.Executors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Receiver {
    static final byte[] KEY = Base64.getDecoder().decode(System.getenv("WEBHOOK_SECRET").replaceFirst("^whsec_", ""));

    public static void main(String[] args) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(3000), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/webhooks", Receiver::receive);
        server.start();
    }

    static void receive(HttpExchange exchange) throws IOException {
        try (exchange) {
            int status = 400;
            try {
                byte[] body = exchange.getRequestBody().readAllBytes();
                if (isGenuine(exchange, body)) {
                    // Parse it with the JSON library of your choice.
                    System.out.println(StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(body)));
                    status = 204;
                }
            } catch (Exception malformed) {
                // Answered like a wrong signature.
            }
            exchange.sendResponseHeaders(status, -1);
        }
    }

    static boolean isGenuine(HttpExchange exchange, byte[] body) throws Exception {
        String id = exchange.getRequestHeaders().getFirst("${prefix}-id");
        String timestamp = exchange.getRequestHeaders().getFirst("${prefix}-timestamp");
        String signatures = exchange.getRequestHeaders().getFirst("${prefix}-signature");
        if (id == null || id.isEmpty() || timestamp == null || signatures == null) return false;
        long seconds = Long.parseLong(timestamp);
        long now = Instant.now().getEpochSecond();
        if (seconds < now - 300 || seconds > now + 300) return false;
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(KEY, "HmacSHA256"));
        mac.update((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
        byte[] expected = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes(StandardCharsets.UTF_8);
        for (String given : signatures.split(" ")) {
            if (MessageDigest.isEqual(given.getBytes(StandardCharsets.UTF_8), expected)) return true;
        }
        return false;
    }
}
`;
}

function ruby(prefix) {
  return `# receiver.rb, for Ruby 3.0 or later: gem install webrick
require "json"
require "openssl"
require "webrick"

KEY = ENV.fetch("WEBHOOK_SECRET").delete_prefix("whsec_").unpack1("m0")

def genuine?(request, body)
  id, timestamp = request["${prefix}-id"].to_s, request["${prefix}-timestamp"].to_s
  return false if id.empty? || !timestamp.match?(/\\A\\d{1,12}\\z/)
  return false if (Time.now.to_i - timestamp.to_i).abs > 300
  digest = OpenSSL::HMAC.digest("SHA256", KEY, "#{id}.#{timestamp}.#{body}")
  expected = "v1,#{[digest].pack("m0")}"
  request["${prefix}-signature"].to_s.split(" ").any? { |given| OpenSSL.secure_compare(given, expected) }
end

server = WEBrick::HTTPServer.new(Port: 3000)
server.mount_proc("/webhooks") do |request, response|
  body = request.body.to_s
  response.status = 400
  if genuine?(request, body)
    event = JSON.parse(body)
    puts "#{event["type"]} #{event["data"]}"
    response.status = 204
  end
rescue StandardError
  # Malformed requests are answered like those with a wrong signature.
  response.status = 400
end
trap("INT") { server.shutdown }
server.start
`;
}

function php(prefix) {
  const name = `HTTP_${prefix.toUpperCase()}`;
  return `<?php
// receiver.php, for PHP 8 or later: php -S localhost:3000 receiver.php

function is_genuine(string $body): bool
{
    $id = $_SERVER["${name}_ID"] ?? "";
    $timestamp = $_SERVER["${name}_TIMESTAMP"] ?? "";
    if ($id === "" || !preg_match('/^\\d{1,12}$/D', $timestamp) || abs(time() - (int) $timestamp) > 300) {
        return false;
    }
    $key = base64_decode(substr(getenv("WEBHOOK_SECRET"), strlen("whsec_")));
    $expected = "v1," . base64_encode(hash_hmac("sha256", "$id.$timestamp.$body", $key, true));
    foreach (explode(" ", $_SERVER["${name}_SIGNATURE"] ?? "") as $given) {
        if (hash_equals($expected, $given)) {
            return true;
        }
    }
    return false;
}

$body = file_get_contents("php://input");
$event = is_genuine($body) ? json_decode($body, true) : null;
if (!is_array($event) || !isset($event["type"], $event["data"])) {
    http_response_code(400);
    exit;
}
error_log($event["type"] . " " . json_encode($event["data"]));
http_response_code(204);
`;
}

/** The receivers by the name of their tab. */
export const RECEIVERS = { FastAPI: fastapi, Flask: flask, Django: django, Node: node, Go: go, Java: java, Ruby: ruby, PHP: php };
