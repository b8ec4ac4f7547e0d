/**
 * How far a 3-bit copy's predictions are from the model's own, position by position.
 *
 * You will see, at some positions of a sentence, what either finds likeliest, then over windows of
 * text the mean KL divergence and how often the two agree. Perplexity can hide a change that cancels
 * out; these cannot.
 *
 *   KL(A || B) = sum p log(p / q) over the vocabulary, nats; 0 where B predicts as A does
 *
 *   deno run -A examples/compare.ts [MODEL]
 *   bun examples/compare.ts [MODEL]
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import {
  compareModels,
  type Estimate,
  type LanguageModel,
  loadModel,
  openDevice,
  openTokenizer,
  quantizeCheckpoint,
  renderTable,
  textWindows,
} from "../mod.ts";
import { temporaryFolder } from "./ending.ts";
import { tinyLlamaFolder } from "./tiny_llama.ts";

const ours = await tinyLlamaFolder();
const [path = ours] = process.argv.slice(2);
const work = temporaryFolder();
const device = await openDevice({ binding: "cpu" }); // without a binding: the best there is
try {
  await quantizeCheckpoint(path, join(work, "nf3"), { format: "nf3-asym" });
  const tokenizer = await openTokenizer(path);
  const a = await loadModel(device, path), b = await loadModel(device, join(work, "nf3"));

  const likeliest = async (model: LanguageModel, ids: number[]) => {
    model.reset();
    return tokenizer.decode((await model.top(ids, 1)).ids);
  };
  const ids = tokenizer.encode("The people of the United States have the right to");
  const rows = [];
  for (let end = 5; end <= ids.length; end++) {
    rows.push({
      after: `.. ${tokenizer.decode(ids.slice(end - 4, end)).trim()}`,
      dense: await likeliest(a, ids.slice(0, end)),
      "3 bits": await likeliest(b, ids.slice(0, end)),
    });
  }
  console.log(await renderTable(rows));

  const text = await readFile(join(ours, "heldout.txt"), "utf8");
  const cut = textWindows(tokenizer, text, { context: 256, windows: 2 });
  const { kl, top1, tokens } = await compareModels(a, b, cut);
  console.log(`KL divergence  ${told(kl)} nats a token`);
  console.log(`same likeliest ${told(top1)} of ${tokens} tokens`);
  a.close();
  b.close();
} finally {
  device.close();
}

function told({ mean, standardError }: Estimate): string {
  return `${mean.toFixed(4)} +- ${standardError!.toFixed(4)}`;
}
