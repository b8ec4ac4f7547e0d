/**
 * SmoothQuant: the demo's model with 8-bit activations, and weights of 8 bits or AFPQ's 4 (W8A8, W4A8),
 * before and after the size of its inputs has moved into the weights.
 *
 * You will see bits a weight (scales included), and perplexity on held-out text with its paired
 * difference to the dense model. Activations are rounded token by token, simulated in f32. The demo's
 * model has no outlying inputs to speak of, so 8 bits lose next to nothing with or without smoothing;
 * what large models gain is in the SmoothQuant paper, not here.
 *
 *   s_j = sqrt(max |x_j| / max |w_j|); W diag(s) is rounded, 1 / s goes into what makes the inputs
 *
 *   deno run -A examples/smoothquant.ts [2 5 | --full]     about a minute: windows to smooth by, to score
 *   bun examples/smoothquant.ts [2 5 | --full]             --full: more text
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  estimateDifference,
  evaluateText,
  loadSmoothed,
  openDevice,
  openTokenizer,
  renderTable,
  type Row,
  type SmoothOptions,
  type TextScore,
  textWindows,
} from "../mod.ts";
import { askedCounts } from "./asked_counts.ts";
import { tinyLlamaFolder } from "./tiny_llama.ts";

const asked = askedCounts({ smooth: 2, score: 5 }, { smooth: 16, score: Infinity });
const folder = await tinyLlamaFolder();
const tokenizer = await openTokenizer(folder);
const cut = async (name: string, windows: number) =>
  textWindows(tokenizer, await readFile(join(folder, name), "utf8"), { context: 256, windows });
const calibration = await cut("calibration.txt", asked.smooth);
const heldOut = await cut("heldout.txt", asked.score);
const device = await openDevice({ binding: "cpu" });

const int8 = 8 + 32 * 2560 / 786432; // a f32 scale for each of 2560 rows of a layer
const nf4 = { format: "nf4-asym", group: 128 } as const;
const ways: [name: string, bits: number, options: Omit<SmoothOptions, "windows">][] = [
  ["dense", 16, { alpha: null, weights: null, int8: false }],
  ["W8A8", int8, { alpha: null, weights: "int8", int8: true }],
  ["W8A8 smoothed", int8, { alpha: 0.5, weights: "int8", int8: true }],
  ["W4 nf4-asym", 4.25, { alpha: null, weights: nf4, int8: false }],
  ["W4A8 nf4-asym", 4.25, { alpha: null, weights: nf4, int8: true }],
  ["W4A8 nf4-asym smoothed", 4.25, { alpha: 0.5, weights: nf4, int8: true }],
];
const rows: Row[] = [];
let dense: TextScore | undefined;
for (const [way, bits, options] of ways) {
  const model = await loadSmoothed(device, folder, { ...options, windows: calibration.windows });
  const scored = await evaluateText(model, heldOut);
  dense ??= scored;
  const { mean, standardError } = estimateDifference(dense.windowNll, scored.windowNll);
  rows.push({
    way,
    "bits/weight": bits,
    perplexity: scored.perplexity,
    "nats over dense": mean,
    "+-": standardError ?? NaN,
  });
}
console.log(await renderTable(rows));
console.log("The AFPQ paper has no numbers with 8-bit activations. Its own for 4-bit weights,");
console.log("LLaMA-2-7B, WikiText-2: dense 5.47, NF4-asym g128 5.66");
device.close();
