// Stands in for both AI providers on this machine, for trying out the control plane without a key that costs:
//
//   node provider_standin.mjs [PORT]       prints its base URL on one line and serves until it is ended
//
// It answers OpenAI's chat completions (POST /v1/chat/completions, as Kimi speaks them) and Gemini's generateContent and
// streamGenerateContent, streamed or whole, with a text that says who was asked and what. A message "slow N" is answered
// in N pieces, one every 100 ms; "fail" with status 401. GET /seen tells how often each was asked. Keys: any that begins
// with "sk-" for Kimi, "AI" for Gemini; others are refused.
import { createServer } from "node:http";

const [port = "0"] = process.argv.slice(2);
const seen = { kimi: 0, gemini: 0, cut: 0 };
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const kimi = {
  key: (request) => /^Bearer sk-/.test(request.headers.authorization ?? ""),
  refusal: { error: { message: "Incorrect API key provided", type: "incorrect_api_key_error" } },
  text: ({ messages }) => messages.at(-1).content,
  whole: (model, text) => ({
    id: "cmpl-1",
    object: "chat.completion",
    model,
    choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
    usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
  }),
  piece: (model, text, isLast) => ({
    id: "cmpl-1",
    object: "chat.completion.chunk",
    model,
    choices: [{ index: 0, delta: { content: text }, finish_reason: isLast ? "stop" : null }],
  }),
  end: "data: [DONE]\n\n",
};

const gemini = {
  key: (request) => /^AI/.test(request.headers["x-goog-api-key"] ?? ""),
  refusal: { error: { code: 400, message: "API key not valid", status: "INVALID_ARGUMENT", details: [{ reason: "API_KEY_INVALID" }] } },
  text: ({ contents }) => contents.at(-1).parts.map(({ text }) => text ?? "").join(""),
  whole: (model, text) => gemini.piece(model, text, true),
  piece: (model, text, isLast) => ({
    candidates: [{ content: { role: "model", parts: [{ text }] }, index: 0, ...(isLast && { finishReason: "STOP" }) }],
    modelVersion: model,
  }),
  end: "",
};

/** The pieces of the answer to `message`. */
function pieces(name, model, message) {
  const slow = /^slow (\d+)$/.exec(message);
  if (!slow) return [`${name}/${model} heard: `, message];
  return Array.from({ length: Number(slow[1]) }, (_, index) => `${name} ${index + 1}\n`);
}

async function answer(name, provider, model, body, response, streams) {
  const message = provider.text(body);
  const parts = pieces(name, model, message);
  if (!streams) return json(response, 200, provider.whole(model, parts.join("")));
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  for (const [index, part] of parts.entries()) {
    if (response.destroyed) return;
    response.write(`data: ${JSON.stringify(provider.piece(model, part, index === parts.length - 1))}\n\n`);
    if (message.startsWith("slow")) await wait(100);
  }
  response.end(provider.end);
}

function json(response, status, value) {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(value));
}

/** Which provider a request is for, which model, and whether it asks for a stream; `undefined`: none. */
function route({ method, url }, body) {
  if (method !== "POST") return undefined;
  if (url === "/v1/chat/completions") return ["kimi", kimi, body.model, body.stream === true];
  const called = /^\/v1beta\/models\/([^/?]+):(generateContent|streamGenerateContent\?alt=sse)$/.exec(url);
  return called ? ["gemini", gemini, called[1], called[2] !== "generateContent"] : undefined;
}

const server = createServer(async (request, response) => {
  if (request.url === "/seen") return json(response, 200, seen);
  let text = "";
  for await (const chunk of request) text += chunk;
  let found;
  try {
    const body = JSON.parse(text);
    found = route(request, body);
    if (!found) return json(response, 404, { error: { message: `nothing at ${request.method} ${request.url}` } });
    const [name, provider, model, streams] = found;
    seen[name] += 1;
    response.on("close", () => (seen.cut += response.writableFinished ? 0 : 1));
    if (!provider.key(request) || provider.text(body) === "fail") {
      return json(response, name === "kimi" ? 401 : 400, provider.refusal);
    }
    await answer(name, provider, model, body, response, streams);
  } catch (error) {
    if (!response.headersSent) json(response, 400, { error: { message: String(error) } });
    else response.destroy();
  }
});
server.listen(Number(port), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
