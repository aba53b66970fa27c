// A stand-in for an OpenID provider: discovery, a key set that rotates, and id tokens, good ones and bad ones; slow, silent or
// wrong on request. Also a program of its own, for trying a relay out by hand:
//
//   node relay/provider.mjs [PORT]     prints its issuer; GET /token?email=a@example.org gives an id token
import { createHmac, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { sleep } from "./program.mjs";

const MINUTE = 60;
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

export class Provider {
  constructor(client = "portcullis-relay") {
    Object.assign(this, { client, generation: 0, keys: [], hits: { discovery: 0, keys: 0 } });
    Object.assign(this, { delay: 0, isSilent: false, discovery: {}, algorithms: ["RS256", "ES256"] });
    this.rotate();
  }

  async start(port = 0) {
    this.server = createServer((request, answer) => this.answer(request, answer));
    await new Promise((resolve) => this.server.listen(port, "127.0.0.1", resolve));
    this.issuer = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }

  /** New keys under new ids; the old ones are gone. */
  rotate() {
    this.generation += 1;
    const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.keys = [
      { alg: "RS256", kid: `rs-${this.generation}`, ...rsa },
      { alg: "ES256", kid: `es-${this.generation}`, ...ec },
    ];
  }

  key(alg) {
    return this.keys.find((key) => key.alg === alg);
  }

  async answer(request, answer) {
    const url = new URL(request.url, this.issuer);
    const hit = { "/.well-known/openid-configuration": "discovery", "/keys": "keys" }[url.pathname];
    if (hit) this.hits[hit] += 1;
    if (this.isSilent) return;
    await sleep(this.delay);
    const send = (value) => {
      answer.setHeader("content-type", "application/json");
      answer.end(JSON.stringify(value));
    };
    if (hit === "discovery") return send(this.document());
    if (hit === "keys") return send({ keys: this.keys.map(({ alg, kid, publicKey }) => ({ ...publicKey.export({ format: "jwk" }), alg, kid, use: "sig" })) });
    if (url.pathname === "/token") return send({ id_token: this.token({ email: url.searchParams.get("email") ?? "somebody@example.org" }) });
    answer.statusCode = 404;
    answer.end();
  }

  document() {
    return {
      issuer: this.issuer,
      authorization_endpoint: `${this.issuer}/authorize`,
      token_endpoint: `${this.issuer}/oauth/token`,
      jwks_uri: `${this.issuer}/keys`,
      response_types_supported: ["id_token"],
      subject_types_supported: ["public"],
      id_token_signing_alg_values_supported: this.algorithms,
      ...this.discovery,
    };
  }

  claims(more = {}) {
    const now = Math.floor(Date.now() / 1_000);
    const email = more.email ?? "dora@example.org";
    const own = { iss: this.issuer, aud: this.client, sub: `sub-of-${email}`, email, email_verified: true, name: "Dora", iat: now, exp: now + 10 * MINUTE };
    return { ...own, ...more };
  }

  /** An id token with these claims; `how` bends what is around them. */
  token(claims = {}, how = {}) {
    const key = how.key ?? this.key(how.alg ?? "RS256");
    const header = { alg: how.alg ?? key.alg, kid: key.kid, typ: "JWT", ...how.header };
    const input = `${part(header)}.${part(this.claims(claims))}`;
    return `${input}.${how.signature?.(input) ?? signature(header.alg, key, input)}`;
  }

  /** Signed with the bytes of the public key, as if they were a shared secret. */
  confused() {
    const key = this.key("RS256");
    const pem = key.publicKey.export({ format: "pem", type: "spki" });
    const shared = (input) => createHmac("sha256", pem).update(input).digest("base64url");
    return this.token({}, { header: { alg: "HS256" }, signature: shared });
  }
}

function signature(alg, key, input) {
  if (alg === "none") return "";
  const options = alg.startsWith("ES") ? { key: key.privateKey, dsaEncoding: "ieee-p1363" } : key.privateKey;
  return sign("sha256", Buffer.from(input), options).toString("base64url");
}

/** A key pair that the provider has not published, under any id. */
export function foreign(kid = `own-${randomBytes(4).toString("hex")}`) {
  return { alg: "RS256", kid, ...generateKeyPairSync("rsa", { modulusLength: 2048 }) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const provider = await new Provider(process.env.OIDC_CLIENT_ID).start(Number(process.argv[2] ?? 0));
  console.log(provider.issuer);
}
