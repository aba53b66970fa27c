// Logins of an OpenID provider's users at a relay, from the provider's token to the relay's own and what it allows:
//
//   node relay/login.mjs PROGRAM
//
// The provider is a stand-in on loopback. Good tokens of both usual algorithms, every bad one, keys that rotate, a provider
// that is slow, silent, or somebody else, and addresses that no document is fetched from. Stops with exit code 1 at the first
// answer that is not as spec/relay.md says.
import assert from "node:assert/strict";
import { Account, form, request } from "./account.mjs";
import { Relay, sleep, tour, until } from "./program.mjs";
import { Provider, foreign } from "./provider.mjs";

const OOB = "urn:ietf:wg:oauth:2.0:oob";
const program = process.argv[2] ?? "target/debug/portcullis";
const told = (what) => console.log(what);

const relayOf = (provider, more = {}, args = []) =>
  new Relay(program, { AUTH_MODE: "oidc", OIDC_ISSUER_URL: provider.issuer, OIDC_CLIENT_ID: provider.client, RELAY_OAUTH_LIMIT_PER_WINDOW: "10000", ...more }, args);

/** The relay's answer to an id token, and how to go on after a good one. */
async function show(relay, fields, headers = {}) {
  const { verifier, state, query } = request({ client: "commands-desktop-public", scope: "profile email" }, OOB);
  const body = new URLSearchParams({ ...query, ...fields });
  const answer = await fetch(`${relay.url}/oauth/authorize`, { method: "POST", body, headers, redirect: "manual" });
  const json = await answer.json();
  return { status: answer.status, headers: answer.headers, json, verifier, state };
}

/** A whole login: the account with the relay's tokens. */
async function logIn(relay, fields, headers) {
  const shown = await show(relay, fields, headers);
  assert.equal(shown.status, 200, JSON.stringify(shown.json));
  assert.equal(shown.json.state, shown.state);
  return new Account(relay).exchange(shown.json.code, shown.verifier, OOB);
}

const now = () => Math.floor(Date.now() / 1_000);

async function good(relay, provider) {
  const page = await fetch(`${relay.url}/oauth/authorize?${new URLSearchParams(request({ client: "", scope: "" }, OOB).query)}`);
  const html = await page.text();
  assert.equal(page.status, 200);
  assert.match(html, /name="?id_token"?/);
  assert.ok(!/https?:\/\/(?!127\.0\.0\.1|localhost)/.test(html), "the page loads nothing of others");

  const dora = await logIn(relay, { id_token: provider.token() });
  const { sub, email, name, auth_mode, email_verified } = dora.claims;
  assert.deepEqual([sub, email, name, auth_mode, email_verified], ["sub-of-dora@example.org", "dora@example.org", "Dora", "oidc", true]);
  await dora.expect(200, "GET", "/devices");
  await dora.expect(204, "PUT", "/devices/dev_of_dora/identity-key", { public_key: "rcFAEfgtHFbZVqpPnXPYhYNhpgYEhSXg0Ixjjcdd2Mc=" });
  const emil = await logIn(relay, { id_token: provider.token({ email: "emil@example.org", name: undefined, preferred_username: "emil" }, { alg: "ES256" }) });
  assert.equal(emil.claims.name, "emil");
  await logIn(relay, { firebase_token: provider.token() });
  await logIn(relay, {}, { authorization: `Bearer ${provider.token()}` });
  await logIn(relay, { id_token: provider.token({ aud: ["another", provider.client] }) });
  await logIn(relay, { id_token: provider.token({ nonce: "n-1" }), id_token_nonce: "n-1" });
  assert.deepEqual([provider.hits.discovery, provider.hits.keys], [1, 1], "documents are kept");
  told("RS256 and ES256, in every place where a token may be; discovery and keys were fetched once");
  return { dora, emil };
}

/** An address that nobody has verified accepts no invitation. */
async function unverified(relay, provider, { dora, emil }) {
  const invite = await dora.expect(201, "POST", "/shares/invites", { deviceId: "dev_of_dora", email: "emil@example.org" });
  const token = new URL(invite.inviteUrl).pathname.split("/").at(-1);
  for (const verified of [false, undefined, "false"]) {
    const claims = { email: "emil@example.org", sub: "somebody-else", email_verified: verified };
    const impostor = await logIn(relay, { id_token: provider.token(claims) });
    const refusal = await impostor.expect(403, "POST", "/shares/invites/accept", { token });
    assert.equal(refusal.error, "a verified email is required to accept invites");
  }
  await emil.expect(200, "POST", "/shares/invites/accept", { token });
  told("email_verified decides who may accept an invitation");
}

async function bad(relay, provider) {
  const tampered = () => {
    const [header, , end] = provider.token().split(".");
    return [header, Buffer.from(JSON.stringify(provider.claims({ sub: "root" }))).toString("base64url"), end].join(".");
  };
  const es = provider.key("ES256");
  const cases = {
    "another issuer": provider.token({ iss: "http://127.0.0.1:1" }),
    "the issuer with a slash": provider.token({ iss: `${provider.issuer}/` }),
    "another audience": provider.token({ aud: "another" }),
    "no audience of a list": provider.token({ aud: ["another", "a third"] }),
    "over": provider.token({ exp: now() - 1 }),
    "without an end": provider.token({ exp: undefined }),
    "not yet good": provider.token({ nbf: now() + 600 }),
    "an unknown kid": provider.token({}, { key: foreign() }),
    "a known kid, another key": provider.token({}, { key: foreign(provider.key("RS256").kid) }),
    "alg none": provider.token({}, { header: { alg: "none" }, signature: () => "" }),
    "alg none with a signature": provider.token({}, { header: { alg: "none" }, signature: () => "AAAA" }),
    "HS256 with the public key": provider.confused(),
    "the kid of a key of another kind": provider.token({}, { header: { kid: es.kid } }),
    "RS512, which is not announced": provider.token({}, { header: { alg: "RS512" } }),
    "changed claims": tampered(),
    "crit": provider.token({}, { header: { crit: ["exp"] } }),
    "cut off": provider.token().slice(0, -4),
    "no token": "a.b.c",
    "very long": "a".repeat(16_000),
  };
  for (const [what, token] of Object.entries(cases)) {
    const { status, json } = await show(relay, { id_token: token });
    const why = what === "very long" ? "id token is longer than 8192 bytes" : "id token verification failed";
    assert.deepEqual([status, json.error], [401, why], what);
  }
  const nonce = await show(relay, { id_token: provider.token({ nonce: "n-1" }), id_token_nonce: "n-2" });
  assert.deepEqual([nonce.status, nonce.json.error], [401, "id token verification failed"]);
  const nobody = await show(relay, { id_token: provider.token({ sub: "" }) });
  assert.deepEqual([nobody.status, nobody.json.error], [401, "token missing subject"]);
  const none = await show(relay, { demo_email: "dora@example.org" });
  assert.deepEqual([none.status, none.json.error], [401, "id token is required"]);
  const machine = await form(`${relay.url}/oauth/token`, { grant_type: "client_credentials", client_id: "commands-agent" });
  assert.deepEqual([machine.status, machine.json.error], [400, "unsupported_grant_type"]);
  assert.ok(provider.hits.keys <= 2, `tokens of strangers make nobody fetch keys over and over: ${provider.hits.keys} times`);
  told(`${Object.keys(cases).length + 4} bad logins refused`);
}

async function rotation(program, provider) {
  const relay = await relayOf(provider).start();
  const old = provider.token();
  await logIn(relay, { id_token: old });
  provider.rotate();
  const before = provider.hits.keys;
  await logIn(relay, { id_token: provider.token() });
  await logIn(relay, { id_token: provider.token({}, { alg: "ES256" }) });
  assert.equal(provider.hits.keys, before + 1, "new keys are fetched once, when a token needs them");
  assert.equal((await show(relay, { id_token: old })).status, 401, "a key that is no longer published is worth nothing");
  for (let count = 0; count < 5; count += 1) assert.equal((await show(relay, { id_token: provider.token({}, { key: foreign() }) })).status, 401);
  assert.equal(provider.hits.keys, before + 1, "at most once a minute");
  await relay.stop();
  told("new keys of the provider were taken at once, and old ones forgotten");
}

/** What was given out stays good: over a crash, and not in another mode. */
async function lasting(relay, { dora }) {
  await relay.kill();
  await relay.start();
  await dora.refresh();
  await dora.expect(200, "GET", "/devices");
  const demo = await new Relay(program).start();
  const pretender = await new Account(demo, "dora@example.org").logIn();
  const answer = await fetch(`${relay.url}/gateway/v1/devices`, { headers: pretender.headers() });
  assert.equal(answer.status, 401, "a demo user's token is good for nothing here");
  await demo.stop();
  told("a login outlived SIGKILL; one of demo mode is good for nothing");
}

/** A relay whose provider cannot be used: nobody can log in, users are told when to come back, the log says why. */
async function unusable(what, provider, pattern, more, args) {
  const relay = await relayOf(provider, more, args).start();
  relay.url = relay.url.replace("0.0.0.0", "127.0.0.1");
  const { status, headers, json } = await show(relay, { id_token: provider.token() });
  assert.deepEqual([status, headers.get("retry-after")], [503, "5"], `${what}: ${JSON.stringify(json)}`);
  await until(() => `the log of "${what}" matches ${pattern}: ${relay.output}`, () => pattern.test(relay.output));
  await relay.stop();
  told(`${what}: 503; the log: ${relay.output.match(pattern)[0]}`);
}

async function unusableOnes() {
  const other = await new Provider().start();
  other.discovery = { issuer: "http://127.0.0.1:1" };
  await unusable("a discovery document of another issuer", other, /another issuer than OIDC_ISSUER_URL/);
  for (const [place, pattern] of [
    ["https://169.254.169.254/keys", /https:\/\/169\.254\.169\.254.*RELAY_IDENTITY_NETWORKS/],
    ["https://10.0.0.1/keys", /https:\/\/10\.0\.0\.1.*/],
    ["http://10.0.0.1/keys", /http:\/\/10\.0\.0\.1.*/],
    ["file:///etc/passwd", /jwks_uri is no URL.*/],
  ]) {
    other.discovery = { jwks_uri: place };
    await unusable(`keys at ${place}`, other, pattern);
  }
  other.discovery = { id_token_signing_alg_values_supported: ["HS256"] };
  await unusable("a provider with HS256 alone", other, /no algorithm that is known here/);
  other.discovery = {};
  const remote = ["--bind", "0.0.0.0", "--allow-remote"];
  await unusable("a provider on loopback for a relay that others reach", other, /http:\/\/127\.0\.0\.1:\d+ is not https.*RELAY_IDENTITY_NETWORKS/, {}, remote);
  const allowed = await relayOf(other, { RELAY_IDENTITY_NETWORKS: "127.0.0.0/8" }, remote).start();
  allowed.url = allowed.url.replace("0.0.0.0", "127.0.0.1");
  await logIn(allowed, { id_token: other.token() });
  await allowed.stop();
  other.stop();
  await unusable("a provider that is not there", other, /127\.0\.0\.1:\d+: .*/);
}

async function slowOnes() {
  const slow = await new Provider().start();
  slow.delay = 700;
  const relay = await relayOf(slow).start();
  const began = Date.now();
  await Promise.all([1, 2, 3, 4].map((number) => logIn(relay, { id_token: slow.token({ email: `user-${number}@example.org` }) })));
  assert.ok(Date.now() - began > 1_000);
  assert.deepEqual([slow.hits.discovery, slow.hits.keys], [1, 1], "many who wait cost one request");
  await relay.stop();

  slow.isSilent = true;
  const waiting = await relayOf(slow).start();
  const since = Date.now();
  const { status } = await show(waiting, { id_token: slow.token() });
  const waited = Date.now() - since;
  assert.equal(status, 503);
  assert.ok(waited > 5_000 && waited < 15_000, `patience has an end: ${waited} ms`);
  slow.isSilent = false;
  slow.delay = 0;
  await until(() => "logins are possible again", async () => {
    await sleep(200);
    return (await show(waiting, { id_token: slow.token() })).status === 200;
  });
  await waiting.stop();
  slow.stop();
  told("a slow provider is waited for; a silent one is not, and is asked again later");
}

async function main() {
  const provider = await new Provider().start();
  const relay = await relayOf(provider).start();
  const slow = slowOnes();
  const accounts = await good(relay, provider);
  await unverified(relay, provider, accounts);
  await bad(relay, provider);
  await rotation(program, provider);
  await lasting(relay, accounts);
  await relay.stop();
  assert.deepEqual(relay.whoKnows([provider.token().split(".")[0].slice(4), accounts.dora.refreshToken]), [], "no token stands in state or log");
  await unusableOnes();
  await slow;
  provider.stop();
}

await tour(main);
