// The agent's side, in the generations that there are:
//
//   published   version 0.1.0: registers its key before each connection and each handshake, acknowledges over HTTP and then over
//               the WebSocket, answers frames that it does not know with an error, knows nothing of transport tokens
//   second      the second desktop app's: acknowledges over HTTP or not at all, ignores frames that it does not know, looks at
//               who asks
//   tokens      one that announces transport tokens and attaches them
//
// Sessions live as long as the process, whatever becomes of its connection. A number that does not come next is answered with a
// sealed error and remembered as a fault.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import WebSocket from "ws";
import { Opener, Sealer, TO_AGENT, TO_CLIENT, ephemeral, identity, schedule, sign, transcriptHash } from "./sealing.mjs";
import { sleep, until } from "./program.mjs";

const HEARTBEAT = 15_000;
const KNOWN = ["session.handshake.request", "session.message", "session.cancel", "ping", "heartbeat"];

export class Agent {
  constructor(account, generation) {
    Object.assign(this, { account, generation, sessions: new Map(), faults: [], frames: [], closes: [], errors: [], connections: 0 });
    this.device = `dev_${randomBytes(16).toString("hex")}`;
    this.outgoing = [];
  }

  async init() {
    this.identity = await identity();
    await this.register();
    return this;
  }

  register() {
    const body = { algorithm: "ed25519", public_key: this.identity.publicText, display_name: `Agent ${this.generation}` };
    return this.account.expect(204, "PUT", `/devices/${this.device}/identity-key`, body);
  }

  /** Connects, and comes back after every end until it is told to stop. */
  start() {
    this.isWanted = true;
    this.work ??= this.run();
    return until(() => `the ${this.generation} agent connects`, () => this.isConnected);
  }

  async run() {
    let wait = 50;
    while (this.isWanted) {
      try {
        await this.register();
        await this.live();
        wait = 50;
      } catch (error) {
        this.lastError = error;
      }
      await sleep(this.isWanted ? wait : 0);
      wait = Math.min(wait * 2, 500);
    }
    this.work = undefined;
  }

  live() {
    const url = `${this.account.relay.socketUrl}/gateway/v1/agent/connect?device_id=${encodeURIComponent(this.device)}`;
    const socket = new WebSocket(url, { headers: this.account.headers({ "x-device-id": this.device }) });
    this.socket = socket;
    return new Promise((resolve, reject) => {
      let order = Promise.resolve();
      socket.on("open", () => {
        this.connections += 1;
        this.transport = undefined;
        this.sendRaw({ type: "agent.hello", device_id: this.device, agent_version: "0.1.0", capabilities: this.capabilities() });
        this.beat = setInterval(() => this.sendRaw({ type: "heartbeat" }), HEARTBEAT);
      });
      socket.on("message", (data) => {
        const frame = JSON.parse(data.toString());
        this.frames.push(frame);
        order = order.then(() => this.take(frame)).catch((error) => this.faults.push(error));
      });
      socket.on("error", reject);
      socket.on("close", (code, reason) => {
        clearInterval(this.beat);
        this.isConnected = false;
        this.closes.push({ code, reason: reason.toString() });
        resolve();
      });
    });
  }

  capabilities() {
    const capabilities = { plaintext_prompt_execution: true, handshake_ack_http: true, encrypted_frames: true, encrypted_algorithms: ["aes-256-gcm"] };
    return this.generation === "tokens" ? { ...capabilities, transport_token: true } : capabilities;
  }

  sendRaw(frame) {
    this.socket.send(JSON.stringify(frame));
  }

  /** A frame of a session; it waits while there is no connection. */
  send(frame) {
    this.outgoing.push(frame);
    this.flush();
  }

  flush() {
    while (this.isConnected && this.outgoing.length > 0) {
      const frame = this.outgoing.shift();
      if (this.generation === "tokens") {
        this.transport.seq += 1;
        Object.assign(frame, { transport_token: this.transport.token, t_seq: this.transport.seq });
      }
      this.sendRaw(frame);
    }
  }

  async take(frame) {
    if (frame.type === "transport.init") {
      assert.equal(frame.device_id, this.device);
      this.transport = { token: frame.transport_token, seq: this.transport?.seq ?? 0 };
      this.isConnected = true;
      this.flush();
    }
    if (frame.type === "agent.error") return void this.errors.push(frame);
    if (frame.type === "session.handshake.request") return this.handshake(frame);
    if (frame.type === "session.message") return this.message(frame);
    if (!KNOWN.includes(frame.type) && this.generation === "published") {
      this.sendRaw({ type: "agent.error", error: "unsupported_type", kind: "unsupported_type", received: frame.type });
    }
  }

  async handshake(request) {
    assert.equal(request.device_id, this.device);
    const known = this.sessions.get(request.session_id);
    if (known?.handshake === request.handshake_id) this.repeatedHandshakes = (this.repeatedHandshakes ?? 0) + 1;
    if (this.generation === "published") await this.register();
    const pair = await ephemeral();
    const hash = await transcriptHash({
      session: request.session_id,
      handshake: request.handshake_id,
      clientKey: request.client_ephemeral_public_key,
      nonce: request.client_session_nonce,
      agentKey: pair.publicText,
    });
    const proof = {
      device_id: this.device,
      handshake_id: request.handshake_id,
      agent_ephemeral_public_key: pair.publicText,
      agent_identity_signature: await sign(this.identity.privateKey, hash),
      transcript_hash: hash.toString("base64"),
    };
    const keys = await schedule(pair.privateKey, request.client_ephemeral_public_key, hash);
    this.sessions.set(request.session_id, {
      handshake: request.handshake_id,
      conversation: request.conversation_id,
      opener: new Opener(keys[0], TO_AGENT, request.session_id),
      sealer: new Sealer(keys[1], TO_CLIENT, request.session_id),
      prompts: [],
    });
    const posted = await this.account.call("POST", `/sessions/${request.session_id}/handshake/agent-ack`, proof).catch((error) => ({ status: 0, text: error.message }));
    if (this.generation === "second") assert.equal(posted.status, 202, posted.text);
    const fingerprint = (key) => createHash("sha256").update(key).digest("hex").slice(0, 16);
    this.send({
      type: "session.handshake.ack",
      status: "ok",
      session_id: request.session_id,
      conversation_id: request.conversation_id,
      ...proof,
      gateway_ack_posted: posted.status === 202,
      control_fingerprint: fingerprint(keys[2]),
    });
  }

  async message(frame) {
    const session = this.sessions.get(frame.session_id);
    if (session === undefined) {
      this.sendRaw({ type: "session.error", session_id: frame.session_id, message_id: frame.message_id, error: "handshake_not_established" });
      throw new Error(`a message of a session without handshake: ${frame.session_id}`);
    }
    const ids = { session_id: frame.session_id, handshake_id: session.handshake, conversation_id: session.conversation, message_id: frame.message_id };
    const reply = async (type, content) => this.send({ type, ...ids, ...(await session.sealer.seal(frame.message_id, content)) });
    let content;
    try {
      assert.equal(frame.handshake_id, session.handshake);
      assert.equal(frame.conversation_id, session.conversation);
      content = await session.opener.open(frame);
    } catch (error) {
      await reply("session.error", { error: error.message, message_id: frame.message_id, session_id: frame.session_id });
      throw error;
    }
    assert.equal(content.message_id, frame.message_id);
    const prompt = content.prompt ?? content.text ?? content.message;
    session.prompts.push(prompt);
    session.requester = this.requester(frame);
    await reply("session.progress", { status: "running", session_id: frame.session_id, message_id: frame.message_id });
    await reply("session.result", {
      result: `answer to ${prompt}`,
      turns: 1,
      cost_usd: 0.01,
      model: "none",
      session_id: frame.session_id,
      message_id: frame.message_id,
    });
  }

  /** Who asks, as this generation reads it. */
  requester(frame) {
    const who = { uid: frame.requester_uid ?? frame.requester?.uid, email: frame.requester_email ?? frame.requester?.email };
    if (this.generation !== "second") return who;
    return { ...who, role: frame.requester_role ?? frame.role ?? "collaborator", grant: frame.grant_id, grantStatus: frame.grant_status };
  }

  /** The connection is lost without a word. */
  lose() {
    this.socket.terminate();
  }

  /** The agent stays away until it is started again. */
  async stop() {
    this.isWanted = false;
    this.socket?.terminate();
    await this.work;
  }
}
