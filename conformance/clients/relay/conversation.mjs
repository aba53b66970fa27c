// Whole encrypted conversations through a relay, with every interruption that its clients know, in demo mode:
//
//   node relay/conversation.mjs PROGRAM
//
// Three generations of agents and two of users' clients talk at the same time, while sockets and streams are dropped, the relay
// is killed and started again on its state, tokens expire. Every message must arrive once and in order, and nothing that was
// said may be found in what the relay wrote. Stops with exit code 1 at the first promise that is not kept.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { AGENT, Account, form } from "./account.mjs";
import { Agent } from "./agent.mjs";
import { Relay, sleep, tour, until } from "./program.mjs";
import { provesTheVector } from "./sealing.mjs";
import { Session } from "./session.mjs";
import { Stream } from "./stream.mjs";

const MARKER = `confidential-${randomBytes(9).toString("hex")}`;
/** Longer than what an event may take to be on disk. */
const SETTLED = 1_700;

const relay = new Relay(process.argv[2] ?? "target/debug/portcullis");
const began = Date.now();
const told = (what) => console.log(`${String(Date.now() - began).padStart(6)} ms  ${what}`);

/** Devices as one user sees them change. */
class Watch {
  constructor(account) {
    this.status = new Map();
    this.stream = new Stream(account, "/devices/events", ({ event, id, data }) => {
      assert.equal(event, "device.status");
      assert.equal(id, undefined, "device events have no ids");
      assert.equal(data.at === "", data.status === "offline" && !this.status.has(data.deviceId) ? true : data.at === "", "offline devices have no time");
      this.status.set(data.deviceId, data.status);
    });
  }

  sees(agent, status) {
    return until(() => `${agent.generation} agent ${status}; it is ${this.status.get(agent.device)}`, () => this.status.get(agent.device) === status);
  }
}

const all = (list, what) => Promise.all(list.map(what));

/** `count` prompts in each session, one after another in a session, all sessions at the same time. */
const say = (sessions, count) =>
  all(sessions, async (session) => {
    const statuses = [];
    for (let index = 0; index < count; index += 1) statuses.push(await session.send(`${MARKER} ${session.sent.length}`));
    return statuses;
  });

async function share(owner, guest, stranger, agent) {
  const before = await guest.expect(404, "GET", `/devices/${agent.device}/identity-key`);
  assert.equal(before.error, "device not found");
  const invite = await owner.expect(201, "POST", "/shares/invites", { deviceId: agent.device, email: guest.email });
  const link = new URL(invite.inviteUrl);
  const [, word, token] = link.pathname.split("/");
  assert.ok(word === "share" && token.length === 43 && link.hash === "", `${link}: both readers of links understand it`);
  const wrong = await stranger.expect(403, "POST", "/shares/invites/accept", { token });
  assert.equal(wrong.error, "email does not match this invite");
  const accepted = await guest.expect(200, "POST", "/shares/invites/accept", { token });
  assert.deepEqual(accepted, { grantId: invite.grantId, deviceId: agent.device, role: "collaborator", status: "active" });
  assert.deepEqual(await guest.expect(200, "POST", "/shares/invites/accept", { token }), accepted, "who used it may ask again");
  await stranger.expect(404, "POST", "/shares/invites/accept", { token });
  const { devices } = await guest.expect(200, "GET", "/devices");
  const entry = devices.find((device) => device.device_id === agent.device);
  assert.equal(entry.role, "collaborator");
  assert.equal(entry.grant_id, invite.grantId);
  return invite.grantId;
}

async function main() {
  await provesTheVector();
  await relay.start();
  const alice = await new Account(relay, "Alice@example.org").logInByBrowser();
  const daemon = await new Account(relay, "alice@example.org", AGENT).logInByBrowser();
  const bob = await new Account(relay, "bob@example.org").logIn();
  const carol = await new Account(relay, "carol@example.org").logIn();
  assert.equal(alice.claims.sub, daemon.claims.sub);
  told("four logins: by browser and by code");

  const agents = await all(["published", "second", "tokens"], (generation) => new Agent(daemon, generation).init());
  const [published, second, tokens] = agents;
  const [watch, stranger] = [new Watch(alice), new Watch(carol)];
  await watch.sees(tokens, "offline");
  const early = await new Session(alice, tokens.device, "console").request();
  assert.equal(early.requested.relay_status, "pending_agent_connection");
  await all(agents, (agent) => agent.start());
  await all(agents, (agent) => watch.sees(agent, "online"));
  await until(() => "the request that waited", () => tokens.frames.length >= 3);
  assert.deepEqual(tokens.frames.slice(0, 3).map(({ type }) => type), ["gateway.connected", "transport.init", "session.handshake.request"]);
  const grant = await share(alice, bob, carol, second);
  told("three generations of agents are connected, one device is shared");

  const shared = new Session(bob, second.device, "console");
  const sessions = [new Session(alice, published.device, "desktop"), new Session(alice, second.device, "desktop"), shared];
  await Promise.all([early.establish(), ...sessions.map((session) => session.open())]);
  sessions.push(early);
  await privacy(sessions[1], shared, carol);
  await say(sessions, 5);
  await all(sessions, (session) => session.answered());
  const [asAlice, asBob] = [sessions[1], shared].map((session) => second.sessions.get(session.id).requester);
  assert.deepEqual(asAlice, { uid: alice.claims.sub, email: "Alice@example.org", role: "owner", grant: undefined, grantStatus: undefined });
  assert.deepEqual(asBob, { uid: bob.claims.sub, email: "bob@example.org", role: "collaborator", grant, grantStatus: "active" });
  told("four handshakes, 20 prompts and 40 answers");

  await interruptions(sessions, agents, watch);
  await crashes(sessions, agents, watch);
  await expiry(sessions, agents, [alice, bob, daemon], watch);
  await endings({ alice, bob, daemon, shared, sessions, agents, grant, watch });

  assert.equal(stranger.status.size, 0, "a stranger hears of no device");
  for (const session of sessions) {
    assert.deepEqual(session.stream.faults, []);
    assert.equal(session.acks, 1, "one acknowledgement is told, once");
  }
  for (const agent of agents) {
    assert.deepEqual(agent.faults, []);
    assert.deepEqual(agent.errors, [], `no frame of the ${agent.generation} agent was refused`);
    assert.equal(agent.repeatedHandshakes, undefined);
  }
  for (const session of sessions) {
    const agent = agents.find(({ device }) => device === session.device);
    assert.deepEqual(agent.sessions.get(session.id).prompts, session.sent.map(({ prompt }) => prompt), "each prompt once and in order");
  }
  await relay.stop();
  const tokensOf = [alice, bob, carol, daemon].flatMap(({ token, refreshToken }) => [token.split(".")[2], refreshToken]);
  assert.deepEqual(relay.whoKnows([MARKER, ...tokensOf]), [], "the relay wrote down nothing that was said, and no token");
  assert.notDeepEqual(relay.whoKnows([sessions[0].id]), [], "the search finds what is there");
  const prompts = sessions.reduce((sum, session) => sum + session.sent.length, 0);
  told(`${prompts} prompts, ${prompts * 2} answers, ${relay.lives} lives of the relay: each once, in order, unread`);
}

/** A session is its user's alone; a stranger learns nothing. */
async function privacy(ofOwner, ofGuest, carol) {
  for (const [session, other, status] of [
    [ofOwner, ofGuest.account, 403],
    [ofGuest, ofOwner.account, 403],
    [ofOwner, carol, 404],
  ]) {
    await other.expect(status, "GET", `${session.path}/events`);
    await other.expect(status, "GET", `${session.path}/handshake/${session.handshake}`);
    await other.expect(status, "POST", `${session.path}/messages`, { message_id: "x", ...(await new Session(other, "x", "desktop").fakeEnvelope()) });
  }
  await carol.expect(404, "POST", `/sessions/carol-1/handshake/client-init`, ofOwner.opening);
}

Session.prototype.fakeEnvelope = async function fakeEnvelope() {
  return { encrypted: true, seq: 99, nonce: "YzJhAAAAAAAAAABj", ciphertext: "AAAA", tag: "AAAAAAAAAAAAAAAAAAAAAA==" };
};

/** Sockets and streams that break and come back. */
async function interruptions(sessions, agents, watch) {
  await all(agents, (agent) => agent.stop());
  await all(agents, (agent) => watch.sees(agent, "offline"));
  const statuses = await say(sessions, 3);
  assert.deepEqual([...new Set(statuses.flat())], ["queued_for_agent"]);
  assert.deepEqual(await all(sessions, (session) => session.repeat()), sessions.map(() => "queued_for_agent"), "the stored answer");
  await all(agents, (agent) => agent.start());
  await all(sessions, (session) => session.answered());
  told("agents away: 3 prompts for each session waited and came");

  for (let round = 0; round < 3; round += 1) {
    sessions.forEach((session) => session.stream.break());
    await say(sessions, 2);
  }
  await all(sessions, (session) => session.answered());
  told("streams broke three times in the middle");

  await all(sessions, (session) => session.stream.stop());
  await say(sessions, 3);
  await all(sessions, ({ account }) => account.refresh());
  sessions.forEach((session) => session.listen());
  await all(sessions, (session) => session.answered());
  told("streams stayed away while agents answered; tokens were renewed");

  const counts = agents.map(({ connections }) => connections);
  agents.forEach((agent) => agent.lose());
  await until(() => "agents come back by themselves", () => agents.every(({ connections, isConnected }, index) => isConnected && connections > counts[index]));
  await all(agents, (agent) => watch.sees(agent, "online"));
  await say(sessions, 2);
  await all(sessions, (session) => session.answered());
  told("agents lost their connections and came back");

  const [agent] = agents;
  const again = new Agent(agent.account, agent.generation);
  Object.assign(again, { identity: agent.identity, device: agent.device, sessions: agent.sessions });
  agent.isWanted = false;
  await again.start();
  await until(() => "the first connection ends", () => !agent.isConnected);
  assert.deepEqual(agent.closes.at(-1), { code: 1000, reason: "replaced_by_new_connection" });
  await sleep(50);
  assert.equal(watch.status.get(agent.device), "online", "a replaced connection does not take the device offline");
  await say([sessions[0]], 2);
  await sessions[0].answered();
  assert.deepEqual(again.faults, []);
  await again.stop();
  await agent.start();
  told("a new connection took the place of an old one");
}

/** SIGKILL and SIGTERM. */
async function crashes(sessions, agents, watch) {
  const restart = async (how) => {
    await relay[how]();
    await relay.start();
  };
  const settle = async () => {
    await until(() => "agents are back", () => agents.every(({ isConnected }) => isConnected));
    await all(agents, (agent) => watch.sees(agent, "online"));
    await all(sessions, (session) => session.answered());
  };

  await all(agents, (agent) => agent.stop());
  await all(agents, (agent) => watch.sees(agent, "offline"));
  await say(sessions, 4);
  await restart("kill");
  assert.deepEqual(await all(sessions, (session) => session.repeat()), sessions.map(() => "queued_for_agent"), "the stored answer, in another life");
  await say(sessions, 1);
  await all(agents, (agent) => agent.start());
  await settle();
  told("SIGKILL while prompts waited for their agents");

  for (let round = 0; round < 3; round += 1) {
    await say(sessions, 2);
    await all(sessions, (session) => session.answered());
    await restart("kill");
    await say(sessions, 2);
    await settle();
  }
  told("SIGKILL right after an answer, three times");

  await all(sessions, (session) => session.stream.stop());
  await say(sessions, 3);
  await sleep(SETTLED);
  await restart("kill");
  sessions.forEach((session) => session.listen());
  await settle();
  told("SIGKILL while answers waited for their users");

  await all(sessions, (session) => session.stream.stop());
  await say(sessions, 3);
  await until(() => "agents have answered", () => agents.every((agent) => agent.outgoing.length === 0 && promptsOf(agent) === sentTo(sessions, agent)));
  await all(agents, (agent) => until(() => "all is sent", () => agent.socket.bufferedAmount === 0));
  await sleep(100);
  await restart("stop");
  sessions.forEach((session) => session.listen());
  await settle();
  told("SIGTERM right after answers that nobody had read");
}

const promptsOf = (agent) => [...agent.sessions.values()].reduce((sum, { prompts }) => sum + prompts.length, 0);
const sentTo = (sessions, agent) => sessions.filter(({ device }) => device === agent.device).reduce((sum, { sent }) => sum + sent.length, 0);

/** Tokens that end while everything goes on. */
async function expiry(sessions, agents, accounts, watch) {
  await relay.stop();
  await relay.start({ ACCESS_TOKEN_TTL_SECONDS: "2" });
  await until(() => "agents are back", () => agents.every(({ isConnected }) => isConnected));
  await all(accounts, (account) => account.refresh());
  sessions.forEach((session) => session.stream.break());
  const renewed = accounts.map(({ refreshes }) => refreshes);
  for (const end = Date.now() + 4_500; Date.now() < end; await sleep(400)) {
    await say(sessions, 1);
  }
  await all(sessions, (session) => session.answered());
  for (const { stream } of sessions) assert.ok(stream.comments.includes("authorization_expired"), "a stream says that its token is over");
  for (const [index, account] of accounts.entries()) {
    if (account.kind !== AGENT) assert.ok(account.refreshes > renewed[index], `${account.email} renewed`);
  }
  assert.ok(agents.every(({ isConnected }) => isConnected), "agents outlive their tokens");
  // The published agent's own rules: the text of the 401 makes it renew, and then it is back.
  agents.forEach((agent) => agent.lose());
  await all(agents, (agent) => until(() => "gone", () => !agent.isConnected));
  await until(() => `agents are back with new tokens; ${agents.map(({ lastError }) => lastError)}`, () => agents.every(({ isConnected }) => isConnected));
  await all(agents, (agent) => watch.sees(agent, "online"));
  await say(sessions, 1);
  await all(sessions, (session) => session.answered());
  await relay.stop();
  await relay.start({ ACCESS_TOKEN_TTL_SECONDS: "3600" });
  await all(accounts, (account) => account.refresh());
  await until(() => "agents are back", () => agents.every(({ isConnected }) => isConnected));
  told("tokens of two seconds: streams came back with new ones, agents stayed, and came back");
}

/** A share that is revoked, a replayed refresh token, a device that is removed. */
async function endings({ alice, bob, shared, sessions, agents, grant, watch }) {
  const [published, second] = agents;
  await all(agents, (agent) => watch.sees(agent, "online"));
  await say(sessions, 1);
  await all(sessions, (session) => session.answered());
  const others = sessions.filter((session) => session !== shared);
  const before = Date.now();
  await alice.expect(200, "POST", `/shares/grants/${grant}/revoke`);
  await until(() => "the stream of the grantee ends", () => shared.stream.isOver);
  assert.ok(Date.now() - before < 5_000);
  assert.equal(shared.stream.refused, 403, "who began a session knows that it is there");
  const gone = await bob.call("POST", `${shared.path}/messages`, shared.sent.at(-1).body, { "x-idempotency-key": "after" });
  assert.equal(gone.status, 403, gone.text);
  assert.ok(!(await bob.expect(200, "GET", "/devices")).devices.some(({ device_id }) => device_id === second.device));
  await say(others, 1);
  await all(others, (session) => session.answered());
  told("the share ended, and with it the guest's stream; the owner's go on");

  const thief = bob.refreshToken;
  await bob.refresh();
  await assert.rejects(Object.assign(new Account(relay, bob.email), { refreshToken: thief }).refresh(), { needsLogin: true });
  await assert.rejects(bob.refresh(), { needsLogin: true });
  await bob.logIn();
  told("a refresh token that was used twice ended its login, in the words that clients look for");

  await alice.expect(204, "DELETE", `/devices/${published.device}`);
  await until(() => "its agent is told", () => published.closes.some(({ reason }) => reason === "device removed"));
  published.isWanted = false;
  await watch.sees(published, "offline");
  assert.equal((await alice.call("DELETE", `/devices/${published.device}`)).status, 404);
  await until(() => "its streams end", () => sessions[0].stream.refused === 404);
  const left = await form(`${relay.url}/oauth/token/revoke`, { token: alice.refreshToken, client_id: alice.kind.client });
  assert.deepEqual([left.status, left.text], [200, "OK"]);
  assert.equal((await fetch(`${relay.url}/gateway/v1/devices`, { headers: alice.headers() })).status, 401, "a revoked login is over at once");
  await until(() => "and its streams", () => watch.stream.isOver || watch.stream.comments.includes("authorization_revoked"));
  await all(agents, (agent) => agent.stop());
  told("a device was removed, a login revoked");
}

await tour(main);
