// Server-sent events as clients read them, by fetch because of the bearer field: they come back with the last id that they
// saw, with a new token when the old one is over, and take no event twice.
import assert from "node:assert/strict";
import { sleep } from "./program.mjs";

const REMEMBERED = 200;
const LARGEST = 512 * 1024;

export class Stream {
  /** `hear(event)` gets `{ id, event, data }`; events are waited for one by one. */
  constructor(account, path, hear, { comesBack = true } = {}) {
    Object.assign(this, { account, path, hear, comesBack });
    Object.assign(this, { opened: 0, repeated: 0, comments: [], refused: undefined, isOpen: false, faults: [] });
    this.seen = [];
    this.work = this.run();
  }

  async run() {
    let wait = 20;
    while (!this.isStopped) {
      try {
        await this.once();
        wait = 20;
      } catch (error) {
        if (error.fatal) throw error;
      }
      this.isOpen = false;
      if (!this.comesBack || this.refused === 404 || this.refused === 403) break;
      await sleep(this.isStopped ? 0 : wait);
      wait = Math.min(wait * 2, 500);
    }
    this.isOver = true;
  }

  async once() {
    this.abort = new AbortController();
    const headers = this.account.headers({ accept: "text/event-stream", ...(this.cursor === undefined ? {} : { "last-event-id": this.cursor }) });
    const used = this.account.token;
    const answer = await fetch(`${this.account.relay.url}/gateway/v1${this.path}`, { headers, signal: this.abort.signal });
    if (answer.status !== 200) {
      await answer.text();
      if (answer.status === 401 && used === this.account.token) await this.account.refresh();
      else this.refused = answer.status;
      return;
    }
    assert.match(answer.headers.get("content-type"), /^text\/event-stream/);
    this.opened += 1;
    let text = "";
    for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        await this.block(text.slice(0, end));
        text = text.slice(end + 2);
      }
    }
    this.ends = (this.ends ?? 0) + 1;
  }

  async block(block) {
    const event = { data: [] };
    for (const line of block.split("\n")) {
      if (line.startsWith(":")) {
        this.isOpen ||= line === ":connected";
        this.comments.push(line.slice(1));
        continue;
      }
      const [name, value] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).replace(/^ /, "")];
      if (name === "data") event.data.push(value);
      else event[name] = value;
    }
    if (event.data.length === 0) return;
    assert.equal(event.data.length, 1, "one data line");
    assert.ok(event.data[0].length <= LARGEST, "no event is larger than clients take");
    if (event.id !== undefined) {
      if (this.seen.includes(event.id)) {
        this.repeated += 1;
        return;
      }
      if (this.cursor !== undefined) assert.ok(BigInt(event.id) > BigInt(this.cursor), `ids grow: ${this.cursor}, ${event.id}`);
      this.seen.push(event.id);
      this.seen.splice(0, this.seen.length - REMEMBERED);
      this.cursor = event.id;
    }
    try {
      await this.hear({ ...event, data: JSON.parse(event.data[0]) });
    } catch (error) {
      this.faults.push(error);
      throw Object.assign(error, { fatal: true });
    }
  }

  /** The connection breaks; the client comes back by itself. */
  break() {
    this.abort?.abort();
  }

  /** The client leaves. */
  async stop() {
    this.isStopped = true;
    this.break();
    await this.work;
  }
}
