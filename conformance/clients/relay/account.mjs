// A user's account as a published client keeps it: the OAuth login with PKCE in the three ways that clients know, the tokens,
// their renewal, and requests with them.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";

const OOB = "urn:ietf:wg:oauth:2.0:oob";
export const DESKTOP = { client: "commands-desktop-public", scope: "profile email" };
export const AGENT = { client: "commands-agent", scope: "read_assets write_assets offline_access device" };

/** The public agent's own rule for the text of a 401 that a refresh cures. */
const cures = (text) => /invalid jwt token|failed to parse token/i.test(text);
/** And the one for a refresh that failed: only then it asks for a new login. */
const needsLogin = (text) => text.includes("refresh token not found or expired");

export async function form(url, fields) {
  const answer = await fetch(url, { method: "POST", body: new URLSearchParams(fields), redirect: "manual" });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, text, json: parsed(text) };
}

export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Verifier, challenge, and the request for a code. */
export function request({ client, scope }, redirect) {
  const verifier = randomBytes(32).toString("base64url");
  const state = randomBytes(16).toString("base64url");
  const challenge = createHash("sha256").update(verifier).digest("base64url");
  const query = { response_type: "code", client_id: client, redirect_uri: redirect, scope, state, code_challenge: challenge, code_challenge_method: "S256" };
  return { verifier, state, query };
}

export class Account {
  constructor(relay, email, kind = DESKTOP) {
    Object.assign(this, { relay, email, kind, refreshes: 0 });
  }

  /** Without a browser: the code comes back as JSON and is typed in. */
  async logIn() {
    const { verifier, state, query } = request(this.kind, OOB);
    const answer = await form(`${this.relay.url}/oauth/authorize`, { ...query, demo_email: this.email });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.json.state, state);
    return this.exchange(answer.json.code, verifier, OOB);
  }

  /** With a browser: the page is filled in, and the code arrives at a listener on a port of the client's choice. */
  async logInByBrowser() {
    const listener = createServer();
    await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));
    const redirect = `http://localhost:${listener.address().port}/callback`;
    const { verifier, state, query } = request(this.kind, redirect);
    const page = await fetch(`${this.relay.url}/oauth/authorize?${new URLSearchParams(query)}`, { headers: { accept: "text/html" } });
    assert.equal(page.status, 200);
    const html = await page.text();
    const hidden = [...html.matchAll(/<input[^>]*type="?hidden"?[^>]*>/g)].map(([tag]) => [attribute(tag, "name"), attribute(tag, "value")]);
    const fields = Object.fromEntries(hidden);
    assert.equal(fields.code_challenge, query.code_challenge, "the page carries the request on");
    const sent = await form(`${this.relay.url}/oauth/authorize`, { ...fields, demo_email: this.email, demo_name: "" });
    assert.equal(sent.status, 302, sent.text);
    const target = new URL(sent.headers.get("location"));
    const arrived = new Promise((resolve) => listener.once("request", (incoming, answer) => {
      answer.end("you may close this page");
      resolve(new URL(incoming.url, redirect));
    }));
    await (await fetch(target.href.replace("localhost", "127.0.0.1"))).text();
    const code = (await arrived).searchParams;
    listener.closeAllConnections();
    listener.close();
    assert.equal(code.get("state"), state);
    return this.exchange(code.get("code"), verifier, redirect);
  }

  async exchange(code, verifier, redirect) {
    const fields = { grant_type: "authorization_code", code, redirect_uri: redirect, code_verifier: verifier, client_id: this.kind.client };
    const answer = await form(`${this.relay.url}/oauth/token`, fields);
    assert.equal(answer.status, 200, answer.text);
    return this.take(answer.json);
  }

  take(tokens) {
    assert.equal(tokens.token_type, "Bearer");
    assert.equal(typeof tokens.expires_in, "number");
    assert.equal(tokens.scope, "profile email", "what is unknown of the scope is not granted, and refuses nobody");
    this.token = tokens.access_token;
    this.refreshToken = tokens.refresh_token;
    this.claims = JSON.parse(Buffer.from(this.token.split(".")[1], "base64url"));
    return this;
  }

  /** Renews the tokens; both are stored. Two at the same time would end the login, so there is one. */
  refresh() {
    this.renewal ??= this.renew().finally(() => (this.renewal = undefined));
    return this.renewal;
  }

  async renew() {
    this.refreshes += 1;
    const fields = { grant_type: "refresh_token", refresh_token: this.refreshToken, client_id: this.kind.client };
    const answer = await form(`${this.relay.url}/oauth/token`, fields);
    if (answer.status !== 200) {
      const text = answer.json.error_description ?? answer.json.error;
      throw Object.assign(new Error(`refresh failed: ${text}`), { needsLogin: needsLogin(text) });
    }
    this.take(answer.json);
  }

  headers(more = {}) {
    return { authorization: `Bearer ${this.token}`, ...more };
  }

  /** A request, repeated once with a new token after a 401 whose text promises that it helps. */
  async call(method, path, body, headers = {}) {
    for (let tries = 0; ; tries += 1) {
      const used = this.token;
      const sent = body === undefined ? {} : { body: JSON.stringify(body) };
      const fields = this.headers({ ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers });
      const got = await fetch(`${this.relay.url}/gateway/v1${path}`, { method, redirect: "manual", headers: fields, ...sent });
      const answer = { status: got.status, headers: got.headers, text: await got.text() };
      const { text } = answer;
      const json = parsed(text);
      if (answer.status === 401 && tries === 0 && cures(json?.error ?? "")) {
        if (used === this.token) await this.refresh();
        continue;
      }
      return { status: answer.status, headers: answer.headers, text, json };
    }
  }

  /** The same, of a request that must be answered like this. */
  async expect(status, method, path, body, headers) {
    const answer = await this.call(method, path, body, headers);
    assert.equal(answer.status, status, `${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.json;
  }
}

function attribute(tag, name) {
  const found = tag.match(new RegExp(`\\b${name}="([^"]*)"`));
  const text = found?.[1] ?? "";
  const named = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&#x27;": "'" };
  return text.replace(/&(?:amp|lt|gt|quot|#39|#x27);/g, (entity) => named[entity]);
}
