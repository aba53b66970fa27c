// The tour of the README in Node, over `ws`: connect, health, a streamed run, its replay, a cancelled run.
// It asks as any client would and stops with exit code 1 at the first answer that is not as the protocol says.
//
//   node operator.mjs [ws://127.0.0.1:18789/gateway]        the token comes from OPENGOAT_GATEWAY_TOKEN
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import WebSocket from "ws";

const url = process.argv[2] ?? "ws://127.0.0.1:18789/gateway";
const token = process.env.OPENGOAT_GATEWAY_TOKEN;

const socket = new WebSocket(url);
const waiting = new Map(); // request id -> what to do with its response
const onEvent = new Map(); // event name -> what to do with its payload

socket.on("message", (data) => {
  const frame = JSON.parse(data.toString());
  if (frame.type === "event") return onEvent.get(frame.event)?.(frame.payload);
  const answer = waiting.get(frame.id);
  waiting.delete(frame.id);
  answer?.(frame);
});
socket.on("close", (code, reason) => {
  if (waiting.size === 0) return;
  console.error(`closed: ${code} ${reason}`);
  process.exit(1);
});
socket.on("error", (error) => {
  console.error(`${url}: ${error.message}`);
  process.exit(1);
});

function request(method, params, id = randomUUID()) {
  return new Promise((resolve) => {
    waiting.set(id, resolve);
    socket.send(JSON.stringify({ type: "req", id, method, params }));
  });
}

async function payloadOf(answer) {
  const frame = await answer;
  assert.ok(frame.ok, JSON.stringify(frame.error));
  return frame.payload;
}

// 1. The gateway speaks first; its nonce goes back with the token.
const challenge = await new Promise((resolve) => onEvent.set("connect.challenge", resolve));
const hello = await payloadOf(
  request("connect", {
    minProtocol: 1,
    maxProtocol: 1,
    client: { id: "tour-node", version: "1.0.0", platform: process.platform, mode: "cli", instanceId: randomUUID() },
    scopes: ["operator.read", "operator.write"],
    ...(token ? { auth: { token } } : {}),
    nonce: challenge.nonce,
  }),
);
assert.equal(hello.type, "hello-ok");
console.log(`connected to gateway ${hello.server.version}, protocol ${hello.protocol}`);

// 2. Health and the agents.
const health = await payloadOf(request("health"));
assert.equal(health.status, "ok");
const { agents } = await payloadOf(request("agent.list"));
console.log(`health: ${health.status}; agents: ${agents.map((agent) => agent.id).join(", ")}`);

// 3. A run. What the agent prints arrives as events while it works; the response is the result.
let streamed = "";
onEvent.set("agent.stream", ({ stream, chunk }) => {
  if (stream === "stdout") streamed += chunk;
});
const order = { message: "hello from node", idempotencyKey: randomUUID() };
const first = await payloadOf(request("agent.run", order));
assert.equal(first.result.code, 0);
assert.equal(streamed, first.result.stdout);
console.log(`run ${first.runId}: ${JSON.stringify(streamed)}`);

// 4. The same key again: the same result, and the agent does not run a second time.
streamed = "";
const again = await payloadOf(request("agent.run", order));
assert.deepEqual(again, first);
assert.equal(streamed, "");
console.log(`replayed: run ${again.runId}`);

// 5. A long run, cancelled as soon as it says something. It needs the agent "slow" of tour.json5.
if (agents.some((agent) => agent.id === "slow")) {
  const runId = randomUUID();
  const started = new Promise((resolve) => onEvent.set("agent.stream", resolve));
  const run = request("agent.run", { agentId: "slow", message: "wait", idempotencyKey: randomUUID() }, runId);
  await started;
  await payloadOf(request("agent.cancel", { runId }));
  const cancelled = await run;
  assert.equal(cancelled.ok, false);
  console.log(`cancelled: ${cancelled.error.code}: ${cancelled.error.message}`);
} else {
  console.log('cancel: left out, there is no agent "slow" (start the gateway with --config conformance/clients/tour.json5)');
}

// 6. The session that the runs went to.
const { history } = await payloadOf(request("session.history", { limit: 2 }));
for (const { role, content } of history.messages) console.log(`${role}: ${content}`);
assert.equal(history.messages.at(-1).content.trim(), first.result.stdout.trim());

socket.close(1000);
