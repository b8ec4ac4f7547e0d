/**
 * Quantises a model to 4 bits and lets it write, packed, on this machine's GPU.
 *
 * You will see what quantising came to, the text as it is written, and how fast. The model is the one
 * in tiny-llama/ unless a Hugging Face folder is named: 5 M parameters know English, not sense.
 *
 *   a token reads every packed weight once: bytes a token x tokens a second = bytes a second
 *
 *   deno run -A examples/generate.ts [MODEL] [PROMPT]
 *   bun examples/generate.ts [MODEL] [PROMPT]
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import {
  complete,
  loadModel,
  openDevice,
  openTokenizer,
  quantizeCheckpoint,
  warmUp,
} from "../mod.ts";
import { temporaryFolder } from "./ending.ts";
import { tinyLlamaFolder } from "./tiny_llama.ts";

const [path = await tinyLlamaFolder(), text = "Once upon a time there was"] = process.argv.slice(2);
const folder = temporaryFolder();
const packed = join(folder, "nf4");
const { weights, bitsPerWeight, nmse } = await quantizeCheckpoint(path, packed, {
  format: "nf4-asym",
  group: 128,
});
console.log(`${weights} weights at ${bitsPerWeight} bits, relative error ${nmse!.toFixed(5)}\n`);

const device = await openDevice({ log: (line) => console.error(line) });
const model = await loadModel(device, packed);
const tokenizer = await openTokenizer(packed);
const prompt = tokenizer.encode(text);
await warmUp(model, prompt);

process.stdout.write(text);
const { ids, decodeTokensPerSecond } = await complete(model, tokenizer, prompt, {
  tokens: 60,
  onText: (piece) => process.stdout.write(piece),
});
const rate = decodeTokensPerSecond ?? NaN;
console.log(`\n\n${ids.length} tokens, ${rate.toFixed(0)} a second on ${device.adapter}:`);
const megabytes = model.stats.bytesPerToken / 1e6;
console.log(`${megabytes.toFixed(1)} MB a token, ${(megabytes * rate).toFixed(0)} MB a second`);
model.close();
device.close();
