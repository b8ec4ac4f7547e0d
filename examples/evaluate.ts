/**
 * The perplexity of a model and of its copies in 4 and 3 bits, on text they have not seen, and what
 * each loses on the dense one.
 *
 * You will see that windows of text differ far more than formats do: the error of a perplexity is
 * large, that of a difference on the same windows is small.
 *
 *   perplexity = exp(mean loss), loss = -log p(token | tokens before it), a window of 256 at a time
 *
 *   deno run -A examples/evaluate.ts [MODEL TEXT]
 *   bun examples/evaluate.ts [MODEL TEXT]
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import {
  estimateDifference,
  evaluateText,
  loadModel,
  openDevice,
  openTokenizer,
  quantizeCheckpoint,
  renderTable,
  type TextScore,
  textWindows,
} from "../mod.ts";
import { temporaryFolder } from "./ending.ts";
import { tinyLlamaFolder } from "./tiny_llama.ts";

const [path = await tinyLlamaFolder(), textPath = join(path, "heldout.txt")] = process.argv
  .slice(2);
const work = temporaryFolder();
const device = await openDevice({ binding: "cpu" }); // without a binding: the best there is
try {
  const tokenizer = await openTokenizer(path);
  const text = await readFile(textPath, "utf8");
  const cut = textWindows(tokenizer, text, { context: 256, windows: 3 });

  const score = async (folder: string): Promise<TextScore> => {
    const model = await loadModel(device, folder);
    const scored = await evaluateText(model, cut);
    model.close();
    return scored;
  };
  const dense = await score(path);
  const rows = [{ format: "dense", ...told(dense, dense) }];
  for (const format of ["nf4-asym", "nf3-asym"]) {
    const folder = join(work, format);
    await quantizeCheckpoint(path, folder, { format });
    rows.push({ format, ...told(await score(folder), dense) });
  }
  console.log(await renderTable(rows));
  console.log(`${cut.windows.length} windows of ${cut.context} tokens on ${device.adapter}`);
} finally {
  device.close();
}

/** A row: the perplexity, and the difference in nats a token, each with its standard error. */
function told(scored: TextScore, dense: TextScore) {
  const { mean, standardError } = estimateDifference(dense.windowNll, scored.windowNll);
  return {
    perplexity: scored.perplexity,
    "+-": scored.perplexityStandardError ?? NaN,
    "nats over dense": mean,
    "+- of that": standardError ?? NaN,
  };
}
