/**
 * Quantises a real language model, 5.2 M parameters, in every format, scores some on text it has not
 * seen, and lets the model and its 3-bit copy write.
 *
 * You will see
 *   - at the same bits: two scales a group of 128 beside one scale a group of 64
 *   - bits a weight and weight error of every format
 *   - perplexity of five formats, and what each loses on dense, paired
 *   - what the dense and the 3-bit model write from one prompt
 *   - products of packed layers with 1, 2 and 17 tokens against the TypeScript reference
 *
 * weight error = sum((w' - w)^2) / sum(w^2) over the 42 linears of the decoder. Perplexity = exp(mean
 * loss) over as many windows of 256 tokens as fit 40 s, or --seconds N, at least 2, the same for all;
 * `+-` is the standard error of the difference, window by window. Products are told in units of their
 * bound (lib/linear_reference.ts): above 1 is wrong.
 *
 *   deno task demo                                      --full: all windows, formats and layers
 *   deno run -A http://HOST/examples/demo.ts            --allow-ffi instead of -A: without scores
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  bitsPerWeight,
  checkMatrix,
  complete,
  type Device,
  estimate,
  estimateDifference,
  formatNames,
  type Group,
  type LanguageModel,
  loadModel,
  nmseOf,
  openDevice,
  openTokenizer,
  perplexityOf,
  quantizationError,
  quantize,
  quantizeCheckpoint,
  renderTable,
  type Row,
  sumErrors,
  textWindows,
} from "../mod.ts";
import { askedCounts } from "./asked_counts.ts";
import { temporaryFolder } from "./ending.ts";
import { tinyLlama, tinyLlamaFolder } from "./tiny_llama.ts";

/** A way to quantise; null is dense. */
type Kind = { format: string; group: Group } | null;

const PROMPT = "The old man opened the door and";
const WRITERS = ["dense", "nf3-asym"];

const { seconds: mostSeconds } = askedCounts({ seconds: 40 }, { seconds: Infinity });
const full = mostSeconds === Infinity;
const start = performance.now();
const seconds = () => (performance.now() - start) / 1000;
const names = full ? formatNames : ["nf4-sym", "nf4-asym", "nf3-sym", "nf3-asym", "fp3-asym"];
const kinds: Kind[] = [null, ...names.map((format) => ({ format, group: 128 as Group }))];
// Two scales a group cost what one scale costs at half the group
const matched = ["nf4", "nf3", "fp4", "fp3"].map((family) => `${family}-sym`);
if (full) kinds.push(...matched.map((format) => ({ format, group: 64 as Group })));

const linears = await tinyLlama();
const weights = linears.reduce((sum, { w }) => sum + w.length, 0);
const device = await openDevice({ log: (line) => console.error(line) });
console.log(`tiny-llama: ${linears.length} linears, ${weights} weights`);
console.log(`on ${device.adapter}, ${device.backend} through binding "${device.binding}"\n`);

const folder = await tinyLlamaFolder().catch((error) => {
  if (error.name !== "NotCapable") throw error;
  console.log("Without permission to read and write files there are no scores.\n");
  return null;
});
console.log("Two scales a group, or groups half as long? At the same bits:\n");
console.log(await renderTable(["nf4", "nf3", "fp4", "fp3"].map(matchedBits)));
console.log("Every format, groups of 128:\n");
console.log(await renderTable(formatNames.map((format) => weighed({ format, group: 128 }))));
if (folder !== null) await scoreAll(folder);

console.log("Packed layers against the reference, worst error in units of the bound:\n");
console.log(
  await renderTable([
    await check("nf4-asym", /[qo]_proj/),
    await check("nf3-sym", /(gate|up)_proj/),
    ...full ? [await check("fp4-asym", /[kv]_proj/)] : [],
  ]),
);
device.close();
console.log(`took ${seconds().toFixed(0)} s`);

/** Two scales a group cost what one scale costs at half the group: their weight errors. */
function matchedBits(family: string): Row {
  const two = weighed({ format: `${family}-asym`, group: 128 });
  const one = weighed({ format: `${family}-sym`, group: 64 });
  return {
    format: family,
    "bits/weight": two["bits/weight"],
    "two scales, g128": two["weight error"],
    "one scale, g64": one["weight error"],
  };
}

/** Bits a weight and weight error of the whole model. */
function weighed(kind: { format: string; group: Group }): Row {
  let bits = 0;
  const errors = linears.map(({ w, ...shape }) => {
    const q = quantize(w, { ...shape, ...kind });
    bits += bitsPerWeight(q) * w.length;
    return quantizationError(q, w);
  });
  const error = nmseOf(sumErrors(errors));
  return { format: kind.format, "bits/weight": bits / weights, "weight error": error };
}

/** Scores every kind on the same windows, and prints the table and the texts. */
async function scoreAll(folder: string): Promise<void> {
  const tokenizer = await openTokenizer(folder);
  const text = await readFile(join(folder, "heldout.txt"), "utf8");
  const { windows } = textWindows(tokenizer, text, { context: 256 });
  const work = temporaryFolder();
  // A CPU that plays GPU takes 7 to 14 s to make a format's kernels, in which TypeScript scores ten windows
  const on = device.software && !full ? await openDevice({ binding: "cpu" }) : device;
  try {
    const models = [];
    for (const kind of kinds) models.push(await loadKind(on, folder, work, kind));
    const losses = await scoreRounds(models, windows);
    const [dense] = losses;
    console.log(`Held-out text, ${dense.length} of ${windows.length} windows:\n`);
    const rows = models.map(({ row }, i) => {
      const { mean, standardError } = estimateDifference(dense, losses[i]);
      const perplexity = perplexityOf(estimate(losses[i])).mean;
      return { ...row, perplexity, "nats over dense": mean, "+-": standardError! };
    });
    console.log(await renderTable(rows));
    console.log(`scored ${on.gpu ? `on ${on.adapter}` : "in plain TypeScript"}\n`);
    for (const { row, model } of models.filter(({ row }) => WRITERS.includes(row.format))) {
      const { text } = await complete(model, tokenizer, tokenizer.encode(PROMPT), { tokens: 32 });
      console.log(`${row.format}: ${PROMPT} [...]${text}\n`);
    }
    for (const { model } of models) model.close();
  } finally {
    if (on !== device) on.close();
  }
}

/** A model, quantised on the way, with the beginning of its row. */
async function loadKind(on: Device, folder: string, work: string, kind: Kind) {
  const format = kind === null ? "dense" : `${kind.format}${kind.group === 128 ? "" : " g64"}`;
  const path = kind === null ? folder : join(work, format);
  const { bitsPerWeight: bits } = kind === null
    ? { bitsPerWeight: 16 }
    : await quantizeCheckpoint(folder, path, kind);
  const model = await loadModel(on, path, { context: 256 });
  return { row: { format, "bits/weight": bits }, model };
}

/** Mean losses [models, windows]: a window by all models in turn, at least 2, until time is up. */
async function scoreRounds(models: { model: LanguageModel }[], windows: readonly Uint32Array[]) {
  const losses: number[][] = models.map(() => []);
  for (const [i, window] of windows.entries()) {
    const begun = seconds();
    for (const [m, { model }] of models.entries()) {
      const all = await model.losses(window);
      losses[m].push(all.reduce((sum, loss) => sum + loss, 0) / all.length);
    }
    if (full) {
      console.error(`window ${i + 1} of ${windows.length} scored, ${seconds().toFixed(0)} s`);
    }
    if (i >= 1 && 2 * seconds() - begun > mostSeconds) break;
  }
  return losses;
}

/** The worst output of layers of one shape, by batch: of the first layer, or with --full of all. */
async function check(format: string, names: RegExp): Promise<Row> {
  const layers = linears.filter(({ name }) => names.test(name)).slice(0, full ? undefined : 2);
  const worst: Record<string, number> = {};
  for (const { w, ...shape } of layers) {
    for (const product of await checkMatrix(device, quantize(w, { ...shape, format }))) {
      const title = `batch ${product.batch}`;
      worst[title] = Math.max(worst[title] ?? 0, product.worst);
      if (product.worst > 1) throw new Error(`${device.adapter} is off by more than the bound`);
    }
  }
  const { rows, cols } = layers[0];
  return { format, layers: `${layers.length} of [${rows}, ${cols}]`, ...worst };
}
