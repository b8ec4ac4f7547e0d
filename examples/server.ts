/**
 * An OpenAI-style server of completions for this machine: `POST /v1/completions`, also with `stream`.
 *
 *   { "prompt", "max_tokens": 16, "temperature": 1, "top_p", "seed", "stream": false }
 *
 *   deno run -A examples/server.ts [MODEL] [PORT]
 *   curl localhost:8080/v1/completions -d '{"prompt": "Once upon a time", "stream": true}'
 *
 * @module
 */
import { createServer, type ServerResponse } from "node:http";
import { json } from "node:stream/consumers";
import process from "node:process";
import { complete, createSampler, loadModel, openDevice, openTokenizer } from "../mod.ts";
import "./ending.ts";
import { tinyLlamaFolder } from "./tiny_llama.ts";

const [folder = await tinyLlamaFolder(), port = "8080"] = process.argv.slice(2);
const device = await openDevice({ log: (line) => console.error(line) });
const [model, tokenizer] = [await loadModel(device, folder), await openTokenizer(folder)];

// deno-lint-ignore no-explicit-any
async function answer({ prompt, stream, ...asked }: any, response: ServerResponse): Promise<void> {
  const { max_tokens: tokens = 16, temperature = 1, top_p: topP, seed } = asked;
  if (typeof prompt !== "string") throw new TypeError("The prompt must be a text");
  if (!(tokens >= 1 && temperature >= 0)) {
    throw new RangeError("max_tokens must be 1 or more, temperature 0 or more");
  }
  const choose = temperature > 0 ? createSampler({ temperature, topP, seed }) : undefined;
  const ids = tokenizer.encode(prompt);
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  const body = (text: string, finish_reason: string | null) =>
    JSON.stringify({ object: "text_completion", choices: [{ index: 0, text, finish_reason }] });
  const type = stream ? "text/event-stream" : "application/json";
  response.setHeader("content-type", type);
  const onText = stream && ((piece: string) => response.write(`data: ${body(piece, null)}\n\n`));
  const done = await complete(model, tokenizer, ids, {
    tokens,
    choose,
    onText,
    signal: gone.signal,
  });
  const reason = done.ending === "stop" ? "stop" : "length";
  response.end(stream ? `data: ${body("", reason)}\n\ndata: [DONE]\n\n` : body(done.text, reason));
}

const refuse = (response: ServerResponse, status: number, message: string) => {
  if (!response.headersSent) response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify({ error: { message, type: "invalid_request_error" } }));
};

let turn = Promise.resolve(); // one model: one text at a time
const server = createServer(async (request, response) => {
  if (request.method !== "POST" || request.url !== "/v1/completions") {
    return refuse(response, 404, "There is POST /v1/completions and nothing else");
  }
  const asked = await json(request).catch(() => null);
  if (asked === null || typeof asked !== "object") {
    return refuse(response, 400, "The body must be a JSON object");
  }
  turn = turn.then(() => answer(asked, response))
    .catch(({ message }) => refuse(response, 400, message));
});
server.listen(Number(port), "127.0.0.1", () => {
  const at = server.address();
  console.log(`listening on http://127.0.0.1:${typeof at === "object" && at?.port}`);
});
