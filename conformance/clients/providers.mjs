// The control plane and agents that are AI providers, together, on one gateway: an agent with provider "active" answers
// through whatever `switch_provider` chose; a switch leaves runs that stream alone; a health check asks both.
//
//   node providers.mjs WS-URL STANDIN-URL     tokens from OPENGOAT_GATEWAY_TOKEN and CONTROL_TOKEN
//
// The gateway has settings like providers.json5 here, and provider_standin.mjs plays both providers. Exit code 1 at the first
// answer that is not as the specification says.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import WebSocket from "ws";

const [url, standin] = process.argv.slice(2);
const limit = setTimeout(() => {
  console.error("FAILED: not done within 30 s");
  process.exit(1);
}, 30_000);

/** A connection, what to do with each message, and how to send one. */
async function connect(address, onMessage) {
  const socket = new WebSocket(address);
  socket.on("message", (data) => onMessage(JSON.parse(data.toString())));
  await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
  return { socket, send: (message) => socket.send(JSON.stringify(message)) };
}

// The operator: runs by their request ids, what streamed, and who wants to know of the first piece.
const waiting = new Map();
const streamed = new Map();
const firstPiece = new Map();
let nonce;
const challenged = new Promise((resolve) => (nonce = resolve));
const operator = await connect(url, (frame) => {
  if (frame.event === "connect.challenge") nonce(frame.payload.nonce);
  if (frame.event === "agent.stream") {
    const { idempotencyKey, runId, chunk } = frame.payload;
    const run = idempotencyKey ?? runId;
    streamed.set(run, (streamed.get(run) ?? "") + chunk);
    [...firstPiece.values()].forEach((tell) => tell());
    firstPiece.clear();
  }
  waiting.get(frame.id)?.(frame);
});
const ask = (method, params) =>
  new Promise((resolve) => {
    const id = randomUUID();
    waiting.set(id, resolve);
    operator.send({ type: "req", id, method, params });
  });
const hello = await ask("connect", {
  minProtocol: 1,
  maxProtocol: 1,
  client: { id: "providers", version: "1.0.0", platform: process.platform, mode: "cli" },
  auth: { token: process.env.OPENGOAT_GATEWAY_TOKEN },
  nonce: await challenged,
});
assert.ok(hello.ok, JSON.stringify(hello.error));
const run = async (message, agent = "goat") => {
  const answer = await ask("agent.run", { agentId: agent, message, idempotencyKey: randomUUID() });
  assert.ok(answer.ok, JSON.stringify(answer.error));
  return answer.payload.result;
};

// The control client.
const told = [];
const control = await connect(new URL("/control", url), (reply) => told.shift()?.(reply));
const command = (cmd, data) =>
  new Promise((resolve) => {
    told.push(resolve);
    control.send({ token: process.env.CONTROL_TOKEN, cmd, data });
  });
const switchTo = async (provider, model) => {
  const reply = await command("switch_provider", { provider, model });
  assert.ok(reply.ok, reply.error);
  return reply.result;
};

// 1. Both ways.
await switchTo("gemini");
assert.equal((await run("hello")).stdout, "gemini/gemini-1.5-pro heard: hello");
assert.deepEqual(await switchTo("kimi", "moonshot-v1-32k"), { previous: "gemini", active: "kimi", model: "moonshot-v1-32k" });
assert.equal((await run("hello")).stdout, "kimi/moonshot-v1-32k heard: hello");
assert.equal((await run("hello", "always-gemini")).stdout, "gemini/gemini-1.5-pro heard: hello");
console.log("an agent answers through the provider that was switched to");

// 2. A switch while a run streams: it ends as it began, the next one is answered by the other.
const streaming = new Promise((resolve) => firstPiece.set("slow", resolve));
const slow = run("slow 8");
await streaming;
await switchTo("gemini");
assert.equal((await run("hello")).stdout, "gemini/gemini-1.5-pro heard: hello");
const pieces = Array.from({ length: 8 }, (_, index) => `kimi ${index + 1}\n`).join("");
assert.equal((await slow).stdout, pieces);
console.log("a switch leaves a run that streams alone");

// 3. A failure is the run's result, in words of the gateway.
const failed = await run("fail");
assert.deepEqual([failed.code, failed.stderr.trim()], [1, "GeminiProvider: the API key was refused"]);

// 4. Health: both are asked, once.
const health = await command("health_check");
assert.deepEqual(
  health.result.providers.map(({ provider, ok }) => [provider, ok]).sort(),
  [["gemini", true], ["kimi", true]],
);
const before = await (await fetch(`${standin}/seen`)).json();
assert.deepEqual((await command("health_check")).result, health.result);
assert.deepEqual(await (await fetch(`${standin}/seen`)).json(), before);
console.log("health:", health.result.providers.map(({ provider, latencyMs }) => `${provider} ${latencyMs} ms`).join(", "));

operator.socket.close();
control.socket.close();
clearTimeout(limit);
