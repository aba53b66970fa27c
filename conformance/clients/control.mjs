// The control plane as an independent client sees it, in Node over `ws`. Two ways:
//
//   node control.mjs WS-URL TOKEN COMMAND [DATA-JSON]   one command, as the original's own script: prints the reply, exit 0 when ok
//   node control.mjs [WS-URL]                           a tour; the token comes from CONTROL_TOKEN. It rotates the token and
//                                                       prints the new one last. Stops with exit code 1 at the first answer
//                                                       that is not as spec/control.md says.
import assert from "node:assert/strict";
import WebSocket from "ws";

const [url = "ws://127.0.0.1:18789/", ...oneShot] = process.argv.slice(2);

/** A connection whose messages can be awaited one by one. */
function connect() {
  const socket = new WebSocket(url);
  const arrived = [];
  const wanted = [];
  let closed;
  const whenClosed = new Promise((resolve) => {
    socket.on("close", (code, reason) => {
      closed = `closed: ${code} ${reason}`;
      wanted.splice(0).forEach(({ fail }) => fail(new Error(closed)));
      resolve({ code, reason: reason.toString() });
    });
  });
  socket.on("message", (data, isBinary) => {
    assert.equal(isBinary, false, "replies are text messages");
    const text = data.toString();
    const next = wanted.shift();
    if (next) next.take(text);
    else arrived.push(text);
  });
  const receive = () =>
    new Promise((take, fail) => {
      if (arrived.length > 0) take(arrived.shift());
      else if (closed) fail(new Error(closed));
      else wanted.push({ take, fail });
    });
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("open", () => {
      const say = async (message, options) => {
        socket.send(typeof message === "string" || Buffer.isBuffer(message) ? message : JSON.stringify(message), options);
        return receive();
      };
      resolve({ socket, say, receive, whenClosed });
    });
  });
}

/** One command, the way the original's script does it. */
async function runOnce([token, cmd, dataJson]) {
  if (!token || !cmd) {
    console.error("Usage: node control.mjs WS-URL TOKEN COMMAND [DATA-JSON]");
    process.exit(1);
  }
  const request = { token, cmd };
  if (dataJson !== undefined) request.data = JSON.parse(dataJson);
  const patience = setTimeout(() => {
    console.error("Connection timed out after 10s");
    process.exit(1);
  }, 10_000);
  const { say, socket } = await connect();
  const reply = JSON.parse(await say(request));
  clearTimeout(patience);
  socket.close();
  if (!reply.ok) {
    console.error(reply.error);
    process.exit(1);
  }
  console.log(JSON.stringify(reply.result, null, 2));
}

const failure = (cmd, error) => JSON.stringify({ ok: false, cmd, error });
const unauthorised = (cmd, why) => failure(cmd, `Unauthorised: ${why}`);
const MISSING = "Token validation failed: jwt must be provided";
const OTHER = "Token JTI does not match active session \u2014 please use the current startup token";

async function tour() {
  let token = process.env.CONTROL_TOKEN;
  assert.ok(token, "CONTROL_TOKEN is not set");
  const one = await connect();
  const other = await connect();

  // 1. What is no message, and who shows no token. `null` disturbs nobody.
  assert.equal(await one.say("not json"), failure("(parse error)", "Invalid JSON"));
  assert.equal(await one.say("null"), unauthorised("(auth)", MISSING));
  assert.equal(await one.say({ cmd: "ping" }), unauthorised("ping", MISSING));
  assert.equal(await one.say({ cmd: "ping", token: 5 }), unauthorised("ping", "Token validation failed: jwt must be a string"));
  assert.equal(await one.say({ cmd: "ping", token: `${token}A` }), unauthorised("ping", "Token validation failed: invalid signature"));
  console.log("bad messages are answered, and the connection stays");

  // 2. ping, also in a binary message; ids come back; replies are in the order of the requests.
  const pong = JSON.parse(await one.say({ token, cmd: "ping" }));
  assert.deepEqual(Object.keys(pong), ["ok", "cmd", "result"]);
  assert.equal(pong.result.pong, true);
  assert.ok(Math.abs(pong.result.ts - Date.now()) < 60_000, "its clock is ours");
  const binary = JSON.parse(await one.say(Buffer.from(JSON.stringify({ token, cmd: "ping" })), { binary: true }));
  assert.ok(binary.ok);
  one.socket.send(JSON.stringify({ token, cmd: "health_check", id: "slow" }));
  one.socket.send(JSON.stringify({ token, cmd: "ping", id: 7 }));
  const health = JSON.parse(await one.receive());
  assert.equal(health.id, "slow");
  assert.equal(health.result.message, "Health check complete \u2014 see server logs for details.");
  assert.deepEqual(health.result.providers.map(({ provider }) => provider).sort(), ["gemini", "kimi"]);
  assert.equal(JSON.parse(await one.receive()).id, 7);
  console.log("replies come in order, with their ids");

  // 3. status and the providers.
  const status = JSON.parse(await one.say({ token, cmd: "status" })).result;
  assert.deepEqual(Object.keys(status).slice(0, 5), ["provider", "model", "providerKey", "uptimeMs", "nodeEnv"]);
  console.log(`active provider: ${status.provider} (${status.model}), configured: ${status.configured}`);
  const valid = "Valid options: gemini | kimi";
  assert.equal(await one.say({ token, cmd: "switch_provider" }), failure("switch_provider", `Invalid provider "(none)". ${valid}`));
  assert.equal(
    await one.say({ token, cmd: "switch_provider", data: { provider: "openai" } }),
    failure("switch_provider", `Invalid provider "openai". ${valid}`),
  );
  const again = JSON.parse(await one.say({ token, cmd: "switch_provider", data: { provider: status.providerKey } }));
  if (status.configured) assert.deepEqual(again.result, { previous: status.providerKey, active: status.providerKey, model: status.model });
  else assert.match(again.error, /^Provider ".*" is not configured: .* is not set$/);
  assert.equal(
    await one.say({ token, cmd: "PING" }),
    failure("PING", 'Unknown command: "PING". Valid commands: ping, status, switch_provider, health_check, rotate_token'),
  );

  // 4. Rotation is at once and for everybody; connections stay open.
  const old = token;
  const rotated = JSON.parse(await one.say({ token, cmd: "rotate_token" })).result;
  token = rotated.token;
  assert.notEqual(token, old);
  for (const client of [one, other]) {
    assert.equal(await client.say({ token: old, cmd: "ping" }), unauthorised("ping", OTHER));
    assert.ok(JSON.parse(await client.say({ token, cmd: "ping" })).ok);
  }
  console.log(`the token was rotated: ${rotated.tokenId}, until ${rotated.expiresAt}`);

  // 5. Eleven bad messages in a row: ten replies, then the end.
  for (let count = 0; count < 10; count += 1) {
    assert.equal(await other.say({ cmd: "ping" }), unauthorised("ping", MISSING));
  }
  other.socket.send("{}");
  assert.deepEqual(await other.whenClosed, { code: 1008, reason: "too many unauthorised messages" });
  assert.ok(JSON.parse(await one.say({ token, cmd: "ping" })).ok);
  console.log("who guesses is closed, and nobody else");

  one.socket.close();
  await one.whenClosed;
  console.log(token);
}

await (oneShot.length > 0 ? runOnce(oneShot) : tour());
