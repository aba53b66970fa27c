// The user's side of one session, as the published desktop app and the console have it: handshake, the proof of the agent's
// identity, sealed messages, and the events in their order, each once.
//
//   desktop   sends no idempotency key (the id of the message serves), opens the stream after the handshake only
//   console   sends one, and opens the stream before anything is there
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { Opener, Sealer, TO_AGENT, TO_CLIENT, ephemeral, isSigned, schedule, transcriptHash } from "./sealing.mjs";
import { Stream } from "./stream.mjs";
import { sleep, until } from "./program.mjs";

export class Session {
  constructor(account, device, kind) {
    Object.assign(this, { account, device, kind, heard: [], sent: [], acks: 0, received: new Map() });
    Object.assign(this, { id: randomUUID(), handshake: randomUUID(), conversation: `conv_${randomUUID()}` });
    this.path = `/sessions/${this.id}`;
  }

  /** The first half: asks for a handshake. */
  async request() {
    this.pair = await ephemeral();
    this.nonce = randomBytes(this.kind === "desktop" ? 16 : 24).toString("base64");
    this.opening = {
      device_id: this.device,
      handshake_id: this.handshake,
      conversation_id: this.conversation,
      client_ephemeral_public_key: this.pair.publicText,
      client_session_nonce: this.nonce,
    };
    this.requested = await this.account.expect(202, "POST", `${this.path}/handshake/client-init`, this.opening);
    return this;
  }

  /** The second half: waits for the agent, verifies who it is, derives the keys, listens. */
  async establish() {
    const pinned = await this.account.expect(200, "GET", `/devices/${this.device}/identity-key`);
    const handshake = await until(
      () => `the agent acknowledges: ${JSON.stringify(this.state)}`,
      async () => {
        this.state = await this.account.expect(200, "GET", `${this.path}/handshake/${this.handshake}`);
        assert.notEqual(this.state.status, "agent_error", this.state.last_error);
        return this.state.status === "agent_acknowledged" && this.state;
      },
    );
    const agentKey = handshake.agent_ephemeral_public_key;
    const hash = await transcriptHash({ session: this.id, handshake: this.handshake, clientKey: this.pair.publicText, nonce: this.nonce, agentKey });
    assert.equal(handshake.transcript_hash, hash.toString("base64"), "the transcript is ours");
    assert.ok(await isSigned(pinned.public_key, hash, handshake.agent_identity_signature), "the agent is the device's");
    const keys = await schedule(this.pair.privateKey, agentKey, hash);
    this.sealer = new Sealer(keys[0], TO_AGENT, this.id);
    this.opener = new Opener(keys[1], TO_CLIENT, this.id);
    this.proof = handshake;
    this.listen();
    return this;
  }

  async open() {
    await this.request();
    return this.establish();
  }

  /** Listens, from where it stopped if it did. */
  listen() {
    const before = this.stream;
    this.stream = new Stream(this.account, `${this.path}/events`, (event) => this.hear(event));
    if (before) Object.assign(this.stream, { cursor: before.cursor, seen: before.seen });
  }

  async hear({ event, id, data }) {
    assert.equal(event, "session.event");
    assert.ok(id !== undefined);
    assert.equal(data.session_id, this.id);
    for (const secret of ["transport_token", "t_seq", "connection_id"]) assert.ok(!(secret in data), `${secret} stays between agent and relay`);
    if (data.type === "session.handshake.ack") {
      this.acks += 1;
      assert.equal(data.agent_identity_signature, this.proof.agent_identity_signature, "nobody comes between with another key");
      return;
    }
    const content = await this.opener.open(data);
    assert.equal(content.message_id, data.message_id);
    assert.ok(content.error === undefined, `the agent answers with an error: ${content.error}`);
    this.heard.push({ message: content.message_id, result: content.result, status: content.status });
  }

  /** Sends a prompt; what the relay answered. What got no answer is sent again as it was. */
  async send(prompt) {
    const message = randomUUID();
    const content = { session_id: this.id, message_id: message, prompt };
    const body = {
      type: "session.message",
      session_id: this.id,
      handshake_id: this.handshake,
      conversation_id: this.conversation,
      message_id: message,
      device_id: this.device,
      // What a client says about itself is not what the agent may hear.
      requester_role: "owner",
      role: "owner",
      grant_id: "gr_of_its_own_making",
      ...(await this.sealer.seal(message, content)),
    };
    const headers = this.kind === "desktop" ? {} : { "x-idempotency-key": `key-${message}` };
    this.sent.push({ prompt, message, body, headers });
    return this.deliver(body, headers);
  }

  async deliver(body, headers) {
    for (let tries = 0; ; tries += 1) {
      const answer = await this.account.call("POST", `${this.path}/messages`, body, headers).catch((error) => ({ status: 0, text: String(error) }));
      if (answer.status === 202) {
        assert.equal(answer.json.message_id, body.message_id);
        return answer.json.status;
      }
      assert.ok([0, 503].includes(answer.status) && tries < 100, `a message is answered ${answer.status} ${answer.text}`);
      await sleep(50);
    }
  }

  /** The last message once more, as it was: the stored answer, and nothing happens. */
  repeat() {
    const { body, headers } = this.sent.at(-1);
    return this.deliver(body, headers);
  }

  /** Waits until every prompt is answered: one progress and one result each, in the order of the prompts. */
  async answered() {
    const expected = this.sent.flatMap(({ message, prompt }) => [
      { message, result: undefined, status: "running" },
      { message, result: `answer to ${prompt}`, status: undefined },
    ]);
    await until(
      () => `${expected.length} answers of ${this.device} for ${this.account.email}; there are ${this.heard.length} (stream refused: ${this.stream.refused}, opened ${this.stream.opened} times)`,
      () => this.heard.length >= expected.length,
    );
    assert.deepEqual(this.heard, expected);
  }
}
