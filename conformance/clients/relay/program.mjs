// A relay in a child process: started on a free port, known by what it prints, stopped or killed, started again on the same
// state; and what it wrote, for looking whether something stands there that it must not know.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

/** Where its tokens say that they are from, in all of its lives; nothing has to listen there. */
export const BASE = "http://localhost:8091";
const STOP = 15_000;

export class Relay {
  constructor(program, environment = {}, args = []) {
    this.program = path.resolve(program);
    this.folder = mkdtempSync(path.join(tmpdir(), "portcullis-relay-client-"));
    this.state = path.join(this.folder, "state");
    mkdirSync(this.state);
    this.environment = environment;
    this.args = args;
    this.output = "";
    this.lives = 0;
    Relay.all.add(this);
  }

  /** Starts it, with these variables beside the others from now on. */
  async start(environment = {}) {
    Object.assign(this.environment, environment);
    const set = { HOME: this.folder, DOTENV_PATH: "-", JWT_SIGNING_KEY: "a-signing-key-for-independent-clients-only", PUBLIC_BASE_URL: BASE, ...this.environment };
    const args = ["relay", "--port", "0", "--json", "--verbose", "--state-dir", this.state, ...this.args];
    this.child = spawn(this.program, args, { env: set, cwd: this.folder, stdio: ["ignore", "pipe", "pipe"] });
    this.ended = new Promise((resolve) => this.child.on("close", (code, signal) => resolve({ code, signal })));
    this.child.stderr.on("data", (data) => (this.output += data));
    const lines = createInterface({ input: this.child.stdout });
    const announced = new Promise((resolve) => lines.once("line", resolve));
    lines.on("line", (line) => (this.output += `${line}\n`));
    const line = await Promise.race([announced, this.ended]);
    assert.equal(typeof line, "string", `the relay did not start: ${this.output}`);
    this.url = JSON.parse(line).url;
    this.lives += 1;
    const ready = () => fetch(`${this.url.replace("0.0.0.0", "127.0.0.1")}/readyz`).then((answer) => answer.text().then(() => answer.ok));
    assert.ok(await ready(), `it told its URL before it was ready: ${this.output}`);
    return this;
  }

  get socketUrl() {
    return this.url.replace(/^http/, "ws");
  }

  /** As a crash ends it. */
  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
  }

  /** As its operator ends it. */
  async stop() {
    this.child.kill("SIGTERM");
    const late = setTimeout(() => this.child.kill("SIGKILL"), STOP);
    const end = await this.ended;
    clearTimeout(late);
    assert.deepEqual(end, { code: 0, signal: null }, `SIGTERM ends it in order; its output: ${this.output.slice(-2_000)}`);
  }

  /** The files of its state that hold one of these texts, in clear or in base64; and its output, if that does. */
  whoKnows(texts) {
    const needles = texts.flatMap((text) => [text, ...inBase64(text)]).map((text) => Buffer.from(text, "latin1"));
    const holds = (bytes) => needles.some((needle) => bytes.includes(needle));
    const told = holds(Buffer.from(this.output, "utf8")) ? ["its output"] : [];
    return [...told, ...files(this.folder).filter((file) => holds(readFileSync(file)))];
  }

  async drop() {
    if (this.child?.exitCode === null && this.child.signalCode === null) await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
    Relay.all.delete(this);
  }

  static all = new Set();
}

/** What of a text is the same in base64 wherever it stands: at the three places where a group of three bytes can begin. */
function inBase64(text) {
  const spare = 2;
  return [0, 1, 2].map((before) => {
    const whole = Buffer.from(`${"x".repeat(before)}${text}`, "utf8").toString("base64").replace(/=+$/, "");
    return whole.slice(before === 0 ? 0 : before + 1, -spare);
  });
}

function files(folder) {
  return readdirSync(folder, { recursive: true })
    .map((name) => path.join(folder, name))
    .filter((name) => statSync(name).isFile());
}

/** Runs a tour, and leaves no relay behind however it ends. */
export async function tour(run) {
  const patience = setTimeout(() => fail(new Error("took longer than 100 s")), 100_000);
  const fail = (error) => {
    console.error(error);
    for (const relay of Relay.all) {
      console.error(`--- the relay's last output:\n${relay.output.slice(-3_000)}`);
      relay.child?.kill("SIGKILL");
      rmSync(relay.folder, { recursive: true, force: true });
    }
    process.exit(1);
  };
  process.on("unhandledRejection", fail);
  process.on("uncaughtException", fail);
  try {
    await run();
    await Promise.all([...Relay.all].map((relay) => relay.drop()));
  } catch (error) {
    fail(error);
  }
  clearTimeout(patience);
  process.exit(0);
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits until something is so. */
export async function until(what, test, patience = 10_000) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await test();
    if (found) return found;
    assert.ok(Date.now() < end, `waited ${patience} ms for: ${what()}`);
    await sleep(10);
  }
}
