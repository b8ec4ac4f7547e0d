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
import { tinyLlamaFolder } from "./tiny_llama.ts";

const [folder = await tinyLlamaFolder(), port = "8080"] = process.argv.slice(2);
const device = await openDevice({ log: (line) => console.error(line) });
const [model, tokenizer] = [await loadModel(device, folder), await openTokenizer(folder)];

// deno-lint-ignore no-explicit-any
async function answer({ prompt, stream, ...asked }: any, response: ServerResponse): Promise<void> {
  const { max_tokens: tokens = 16, temperature = 1, top_p: topP, seed } = asked;
  const choose = temperature > 0 ? createSampler({ temperature, topP, seed }) : undefined;
  const ids = tokenizer.encode(String(prompt));
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  const body = (text: string, finish_reason: string | null) =>
    JSON.stringify({ object: "text_completion", choices: [{ index: 0, text, finish_reason }] });
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

let turn = Promise.resolve(); // one model: one text at a time
const server = createServer(async (request, response) => {
  const found = request.method === "POST" && request.url === "/v1/completions";
  const asked = found && await json(request).catch(() => null);
  if (!asked) return response.writeHead(found ? 400 : 404).end();
  turn = turn.then(() => answer(asked, response)).catch(({ message }) => {
    if (!response.headersSent) response.statusCode = 400;
    response.end(JSON.stringify({ error: { message } }));
  });
});
server.listen(Number(port), "127.0.0.1", () => {
  const at = server.address();
  console.log(`listening on http://127.0.0.1:${typeof at === "object" && at?.port}`);
});
