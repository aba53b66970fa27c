// What both ends of a relayed session compute, with WebCrypto alone: transcript hash, signature, key schedule, envelopes.
// Written from the protocol's description; nothing of the gateway's own code is here.
import assert from "node:assert/strict";

const { subtle } = globalThis.crypto;

export const base64 = (bytes) => Buffer.from(bytes).toString("base64");

/** Padded standard base64 and nothing else. */
export function unbase64(text) {
  const bytes = Buffer.from(text, "base64");
  assert.equal(bytes.toString("base64"), text, "padded standard base64");
  return bytes;
}

/** The four directions' facts: who sends, and the first bytes of its nonces. */
export const TO_AGENT = { name: "client_to_agent", prefix: Buffer.from("c2a\0", "latin1") };
export const TO_CLIENT = { name: "agent_to_client", prefix: Buffer.from("a2c\0", "latin1") };

/** A fresh X25519 pair; the public half as text. */
export async function ephemeral() {
  const pair = await subtle.generateKey({ name: "X25519" }, true, ["deriveBits"]);
  return { privateKey: pair.privateKey, publicText: base64(await subtle.exportKey("raw", pair.publicKey)) };
}

/** A fresh device identity. */
export async function identity() {
  const pair = await subtle.generateKey({ name: "Ed25519" }, true, ["sign", "verify"]);
  return { privateKey: pair.privateKey, publicText: base64(await subtle.exportKey("raw", pair.publicKey)) };
}

/** SHA-256 over the five texts as they were exchanged. */
export async function transcriptHash({ session, handshake, clientKey, nonce, agentKey }) {
  const text = [session, handshake, clientKey, nonce, agentKey].join("|");
  return Buffer.from(await subtle.digest("SHA-256", Buffer.from(text, "utf8")));
}

export const sign = async (privateKey, hash) => base64(await subtle.sign("Ed25519", privateKey, hash));

export async function isSigned(publicText, hash, signatureText) {
  const key = await subtle.importKey("raw", unbase64(publicText), { name: "Ed25519" }, false, ["verify"]);
  return subtle.verify("Ed25519", key, unbase64(signatureText), hash);
}

/** The raw keys of a session: client to agent, agent to client, control. */
export async function schedule(privateKey, peerText, hash) {
  const peer = await subtle.importKey("raw", unbase64(peerText), { name: "X25519" }, false, []);
  const shared = Buffer.from(await subtle.deriveBits({ name: "X25519", public: peer }, privateKey, 256));
  assert.ok(shared.some((byte) => byte !== 0), "the shared secret is not zero");
  const input = await subtle.importKey("raw", shared, "HKDF", false, ["deriveBits"]);
  const info = Buffer.from("commands.com/gateway/v1/e2ee");
  const output = Buffer.from(await subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt: hash, info }, input, 96 * 8));
  return [output.subarray(0, 32), output.subarray(32, 64), output.subarray(64)];
}

const aesKey = (raw, use) => subtle.importKey("raw", raw, "AES-GCM", false, [use]);
const additionalData = (session, message, seq, direction) => Buffer.from([session, message, seq, direction.name].join("|"), "utf8");

function nonceOf(direction, seq) {
  const nonce = Buffer.alloc(12);
  direction.prefix.copy(nonce);
  nonce.writeBigUInt64BE(BigInt(seq), 4);
  return nonce;
}

/** Seals what one end sends, with numbers 1, 2, 3. */
export class Sealer {
  constructor(raw, direction, session) {
    Object.assign(this, { raw, direction, session, seq: 0 });
  }

  async seal(message, content) {
    this.seq += 1;
    const [iv, aad] = [nonceOf(this.direction, this.seq), additionalData(this.session, message, this.seq, this.direction)];
    const plain = Buffer.from(typeof content === "string" ? content : JSON.stringify(content), "utf8");
    const sealed = Buffer.from(await subtle.encrypt({ name: "AES-GCM", iv, additionalData: aad }, await aesKey(this.raw, "encrypt"), plain));
    return {
      encrypted: true,
      alg: "aes-256-gcm",
      direction: this.direction.name,
      seq: this.seq,
      nonce: base64(iv),
      ciphertext: base64(sealed.subarray(0, -16)),
      tag: base64(sealed.subarray(-16)),
      aad: base64(aad),
    };
  }
}

/** Opens what the other end sent: its numbers must have no gap and no repetition. */
export class Opener {
  constructor(raw, direction, session) {
    Object.assign(this, { raw, direction, session, seq: 0 });
  }

  /** The content, or the reason why it is none. */
  async open(frame) {
    assert.equal(frame.encrypted, true, "sealed");
    assert.equal(frame.session_id, this.session, "of this session");
    assert.equal(frame.seq, this.seq + 1, `number ${this.seq + 1} comes next in ${this.direction.name}`);
    const [iv, aad] = [nonceOf(this.direction, frame.seq), additionalData(this.session, frame.message_id, frame.seq, this.direction)];
    assert.equal(frame.nonce, base64(iv), "the nonce is that of direction and number");
    assert.equal(frame.aad, base64(aad), "the additional data is that of the visible ids");
    const sealed = Buffer.concat([unbase64(frame.ciphertext), unbase64(frame.tag)]);
    const plain = await subtle.decrypt({ name: "AES-GCM", iv, additionalData: aad }, await aesKey(this.raw, "decrypt"), sealed);
    this.seq = frame.seq;
    return JSON.parse(Buffer.from(plain).toString("utf8"));
  }
}

/** The private half of an X25519 or Ed25519 pair from its 32 bytes. */
function privateKey(name, seed, uses) {
  const kind = name === "X25519" ? "6e" : "70";
  return subtle.importKey("pkcs8", Buffer.from(`302e020100300506032b65${kind}04220420${seed}`, "hex"), { name }, false, uses);
}

/** The worked example of the protocol's description. */
export async function provesTheVector() {
  const row = (first) => Buffer.from(Array.from({ length: 32 }, (_, index) => first + index)).toString("hex");
  const transcript = {
    session: "sess_vector01",
    handshake: "hs_vector01",
    clientKey: "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=",
    nonce: "oKGio6SlpqeoqaqrrK2urw==",
    agentKey: "iDGGuAC0HVzwQpaV2ps8xPMo680YSm5IL6V4wQPwbHc=",
  };
  const hash = await transcriptHash(transcript);
  assert.equal(hash.toString("hex"), "29dba6b1ecaa2ab7d805c6a8b9bbb209c93b249047092668a98277dd0ec211c8");
  const signature = "UoX4aW3AyxN61mjYYlwqrsduzgVRy0lpJiqfYq+Zu7ge+7FWufUo5WNYBJ/RPxTl0Xzdk2Hwr4UAana3/GX2DA==";
  assert.equal(await sign(await privateKey("Ed25519", row(0x41), ["sign"]), hash), signature);
  assert.ok(await isSigned("rcFAEfgtHFbZVqpPnXPYhYNhpgYEhSXg0Ixjjcdd2Mc=", hash, signature));
  const own = await privateKey("X25519", row(0x01), ["deriveBits"]);
  const keys = await schedule(own, transcript.agentKey, hash);
  const peer = await privateKey("X25519", row(0x81), ["deriveBits"]);
  assert.deepEqual(keys, await schedule(peer, transcript.clientKey, hash), "both ends derive the same");
  assert.deepEqual(
    keys.map((key) => key.toString("hex")),
    [
      "c957bfe0dd2bf28e5842dd15df14b5ce5b6e7096a8cf3257b3da69b0c84e31b7",
      "6752b7206fa5e39b5f16078ae5f0af0cd6acb5528539a4e7e54c494020f37c5d",
      "62e2facbb0566a3ae29995ed16cad7194742477a1a75e5ea0c7bd52ec6802641",
    ],
  );
  const there = await new Sealer(keys[0], TO_AGENT, "sess_vector01").seal(
    "msg_vector01",
    '{"session_id":"sess_vector01","message_id":"msg_vector01","prompt":"hello"}',
  );
  assert.equal(there.nonce, "YzJhAAAAAAAAAAAB");
  assert.equal(there.tag, "re3L12fgFjNKBFurSL7tdw==");
  assert.match(there.ciphertext, /^vDLUwr395BMr.*S\/H38No$/);
  const back = await new Sealer(keys[1], TO_CLIENT, "sess_vector01").seal(
    "msg_vector01",
    '{"status":"running","session_id":"sess_vector01","message_id":"msg_vector01"}',
  );
  assert.equal(back.tag, "DpwzPOXETduRHx8Eh7JlZQ==");
}
