// A mock node for work on the page: the API as the page uses it, in memory, with the content security policy
// that the real node sends. `node e2e/mock.mjs [port]` serves dist/ and claims with the code it prints.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { randomUUID } from "node:crypto";
import { screen } from "./mock-screen.mjs";
import { shell } from "./mock-socket.mjs";
import { NodeState, Problem } from "./mock-state.mjs";

export const policy =
  "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const types = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};

export class MockNode {
  constructor(options = {}) {
    this.state = new NodeState(options);
    this.sessions = new Map();
    this.sockets = new Set();
    this.wrongTries = 0;
    this.oldest = 0;
    this.server = createServer((request, response) => void this.answer(request, response));
    this.tickets = new Map();
    this.server.on("upgrade", (request, socket) => this.upgrade(request, socket));
    this.server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.on("close", () => this.sockets.delete(socket));
    });
  }

  async listen(port = 0) {
    await new Promise((resolve) => this.server.listen(port, "127.0.0.1", resolve));
    this.port = this.server.address().port;
    return `http://127.0.0.1:${this.port}`;
  }

  /** As if the node's network or northd were gone: open connections break, new ones are refused. */
  async goAway() {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  comeBack() {
    return this.listen(this.port);
  }

  async answer(request, response) {
    const url = new URL(request.url, "http://node");
    response.setHeader("content-security-policy", policy);
    response.setHeader("x-content-type-options", "nosniff");
    try {
      if (url.pathname.startsWith("/api/v1/")) await this.api(request, response, url);
      else await this.file(response, url.pathname);
    } catch (error) {
      const { status = 500, title = "Internal", detail = String(error), violations } = error;
      response.writeHead(status, { "content-type": "application/problem+json" });
      response.end(JSON.stringify({ type: "about:blank", title, status, detail, violations }));
    }
  }

  async file(response, path) {
    const name = normalize(path === "/" ? "/index.html" : path).replace(/^\/+/, "");
    const bytes = await readFile(dist + name).catch(() => {
      throw new Problem(404, "Not found", `There is no file ${path}.`);
    });
    response.writeHead(200, { "content-type": types[extname(name)] ?? "application/octet-stream" });
    response.end(bytes);
  }

  async api(request, response, url) {
    const path = url.pathname.slice("/api/v1/".length).split("/").map(decodeURIComponent);
    const { method } = request;
    const send = (status, body) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(body === undefined ? "" : JSON.stringify(body));
    };
    const route = `${method} ${path.join("/")}`;
    if (route === "GET health") {
      const { node_id, version, hostname, ready } = this.state.summary();
      return send(200, { claimed: this.state.claimed, version, node_id, ready, hostname });
    }
    if (route === "POST claim") return this.claim(await json(request), send, response);
    if (route === "POST login") return this.login(await json(request), send, response);

    const cookie = /(?:^|; )skerry_session=([^;]+)/.exec(request.headers.cookie ?? "")?.[1];
    const principal = this.sessions.get(cookie);
    if (!principal) throw new Problem(401, "Unauthenticated", "Sign in first.");
    if (method !== "GET" && request.headers["x-skerry-request"] !== "1") {
      throw new Problem(403, "Forbidden", "A write by cookie needs the header X-Skerry-Request: 1.");
    }
    if (route === "POST logout") {
      this.sessions.delete(cookie);
      return send(204);
    }
    if (route === "POST tickets") {
      const ticket = randomUUID();
      this.tickets.set(ticket, (await json(request)).path);
      return send(201, { ticket, expires_in_s: 30 });
    }
    if (route === "GET session") return send(200, principal);
    if (route === "GET uploads") return send(200, { items: [] });
    if (route === "GET summary") return send(200, this.state.summary());
    if (route === "GET watch") return this.watch(request, response, url);
    if (method === "POST" && path[0] === "node" && path[1] === "actions") return send(202, {});
    return this.resources(request, response, path, url, send);
  }

  /** A ticket is good once and for its path. */
  upgrade(request, socket) {
    const url = new URL(request.url, "http://node");
    const ticket = url.searchParams.get("ticket");
    const good = this.tickets.get(ticket) === url.pathname;
    this.tickets.delete(ticket);
    if (good && url.pathname.endsWith("/vnc")) screen(request, socket);
    else if (good) shell(request, socket, url);
    else socket.end("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
  }

  async resources(request, response, [plural, key, third, action], url, send) {
    const { state } = this;
    if (!state.documents[plural]) throw new Problem(404, "Not found", "No such path.");
    const what = `${request.method} ${third ?? (key ? "one" : "all")}`;
    switch (what) {
      case "GET all":
        return send(200, state.list(plural));
      case "POST all":
        return send(201, state.create(plural, await json(request)));
      case "GET one":
        return send(200, state.find(plural, key));
      case "PATCH one":
        return send(200, state.patch(plural, key, await json(request)));
      case "DELETE one":
        return send(202, state.remove(plural, key));
      case "POST actions":
        return send(202, state.act(plural, key, action));
      case "GET serial":
      case "GET logs":
        return this.output(request, response, state.output(plural, key), url);
      default:
        throw new Problem(405, "Method not allowed", what);
    }
  }

  open(username, send, status, response) {
    const token = randomUUID();
    this.sessions.set(token, { username, role: "admin" });
    // A real node adds `Secure`; the mock speaks plain HTTP.
    response.setHeader("set-cookie", `skerry_session=${token}; Path=/; HttpOnly; SameSite=Strict`);
    send(status, { token, username, role: "admin" });
  }

  claim({ code, username, password }, send, response) {
    if (this.state.claimed) throw new Problem(409, "Conflict", "This node has been claimed already.");
    const plain = (text) => String(text).replace(/[\s-]/g, "").toUpperCase();
    if (plain(code) !== plain(this.state.code)) throw new Problem(403, "Forbidden", "The claim code is wrong.");
    if (password === "password12") {
      throw new Problem(422, "Invalid", "The password cannot be used.", [
        { field: "password", message: "this password is among the most common ones" },
      ]);
    }
    this.state.users.set(username, password);
    this.open(username, send, 201, response);
  }

  login({ username, password }, send, response) {
    if (this.state.users.get(username) !== password)
      throw new Problem(401, "Unauthenticated", "Wrong user name or password.");
    this.open(username, send, 200, response);
  }

  watch(request, response, url) {
    const after = Number(url.searchParams.get("after") ?? this.state.revision);
    const wanted = url.searchParams.get("kinds")?.split(",") ?? [];
    if (after < this.oldest) throw new Problem(410, "Gone", `Revision ${after} is no longer kept.`);
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.write(": open\n\n");
    const listener = (plural, change) => {
      if (wanted.includes(plural))
        response.write(`event: change\nid: ${change.revision}\ndata: ${JSON.stringify(change)}\n\n`);
    };
    this.state.listeners.add(listener);
    request.on("close", () => this.state.listeners.delete(listener));
  }

  output(request, response, lines, url) {
    response.writeHead(200, { "content-type": "text/plain; charset=utf-8" });
    response.write(`${lines.join("\r\n")}\r\n`);
    if (url.searchParams.get("follow") !== "true") return response.end();
    let count = 0;
    const timer = setInterval(() => {
      count += 1;
      response.write(`tick ${count}\r\n`);
    }, 700);
    request.on("close", () => clearInterval(timer));
  }
}

async function json(request) {
  if (!/^application\/(merge-patch\+)?json/.test(request.headers["content-type"] ?? "")) {
    throw new Problem(415, "Unsupported media type", "Send application/json.");
  }
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    throw new Problem(400, "Bad request", "The body is not JSON.");
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const node = new MockNode();
  const url = await node.listen(Number(process.argv[2] ?? 8080));
  console.log(`${url}/ claim code ${node.state.code}`);
}
