/**
 * A chat on the terminal: you write a line, the model answers as it goes, Ctrl-C ends it.
 *
 * You will see who speaks by the prompt "> ". A model with a chat template is spoken to through it; one
 * without, as the shipped one, goes on with the whole conversation as one text. Every answer begins
 * with the conversation so far, in one run.
 *
 *   deno run -A examples/chat.ts [MODEL]
 *   echo 'Once upon a time' | bun examples/chat.ts
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import {
  type ChatMessage,
  complete,
  createSampler,
  loadModel,
  openChatTemplate,
  openDevice,
  openTokenizer,
} from "../mod.ts";
import "./ending.ts";
import { tinyLlamaFolder } from "./tiny_llama.ts";

const [folder = await tinyLlamaFolder()] = process.argv.slice(2);
const tokenizer = await openTokenizer(folder);
const template = await openChatTemplate(folder).catch(() => null);
const device = await openDevice({ log: (line) => console.error(line) });
const model = await loadModel(device, folder);
const choose = createSampler({ temperature: 0.8, topP: 0.95, seed: 1 });
const onText = (piece: string) => process.stdout.write(piece);

/** Ids of the conversation so far. */
function promptOf(messages: readonly ChatMessage[]): number[] {
  if (template) return tokenizer.encode(template(messages), { bos: false });
  return tokenizer.encode(messages.map(({ content }) => content).join("\n"));
}

const messages: ChatMessage[] = [];
process.stdout.write("> ");
for await (const line of createInterface({ input: process.stdin })) {
  messages.push({ role: "user", content: line });
  // What does not fit the context any more is forgotten, the oldest turn first.
  while (promptOf(messages).length > model.context - 32 && messages.length > 1) messages.shift();
  const { text } = await complete(model, tokenizer, promptOf(messages), {
    tokens: 100,
    choose,
    onText,
  }).catch(({ message }) => ({ text: (console.log(message), "") }));
  messages.push({ role: "assistant", content: text });
  process.stdout.write("\n> ");
}
console.log();
model.close();
device.close();
