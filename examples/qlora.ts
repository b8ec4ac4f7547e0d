/**
 * QLoRA on the demo's model: adapters of rank 8 trained on a frozen 3-bit base, AFPQ's two scales in 8
 * bits each, with 24 windows of text, again and again.
 *
 * You will see the loss over those windows fall from round to round; then bits a weight of the base
 * (8-bit scales and their runs included), weight error, and perplexity with its paired difference to
 * the dense model, on that text and on held-out text. So little text teaches nothing of other text:
 * a larger rate than 2e-4 learns it by heart and loses on the rest. The base's bits are hashed before
 * and after: they are the same. Adapters are written as PEFT reads them.
 *
 *   y = W' x + (alpha / rank) B (A x), W' frozen
 *
 *   deno run -A examples/qlora.ts [ROUNDS [WINDOWS]]     two minutes with 3 rounds of 24 windows
 *   bun examples/qlora.ts [ROUNDS [WINDOWS]]
 *
 * @module
 */
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import {
  createTrainer,
  estimate,
  estimateDifference,
  loadLora,
  type LoraModel,
  lossOf,
  openCheckpoint,
  openModelConfig,
  openTokenizer,
  perplexityOf,
  quantizeCheckpoint,
  renderTable,
  saveAdapters,
  textWindows,
} from "../mod.ts";
import { tinyLlamaFolder } from "./tiny_llama.ts";

const [rounds = 3, windows = 24] = process.argv.slice(2).map(Number);
const folder = await tinyLlamaFolder();
const work = await mkdtemp(join(tmpdir(), "afpq-"));
const tokenizer = await openTokenizer(folder);
const cut = async (name: string, windows?: number) =>
  textWindows(tokenizer, await readFile(join(folder, name), "utf8"), { context: 65, windows })
    .windows;
const training = await cut("calibration.txt", windows);
const heldOut = (await cut("heldout.txt")).filter((_, i) => i % 12 === 0).slice(0, windows);

const lora = { rank: 8, alpha: 16, targets: ["q_proj", "v_proj", "o_proj", "down_proj"] };
const load = async (path: string) => {
  const checkpoint = await openCheckpoint(path);
  return await loadLora(checkpoint, await openModelConfig(checkpoint), lora);
};
const score = (model: LoraModel, windows: readonly Uint32Array[]) =>
  windows.map((ids) => lossOf(model, ids, { backward: false }));
/** Losses of both texts. */
const scores = (model: LoraModel) => [score(model, training), score(model, heldOut)];
const hash = async () =>
  createHash("sha256").update(await readFile(join(work, "base", "model.safetensors"))).digest(
    "hex",
  );

try {
  const dense = scores(await load(folder));
  const { nmse } = await quantizeCheckpoint(folder, join(work, "base"), {
    format: "nf3-asym",
    group: 64,
  });
  const [model, bits] = [await load(join(work, "base")), await hash()];
  const before = scores(model);
  const step = createTrainer(model, { rate: 2e-4 });
  for (let round = 1; round <= rounds; round++) {
    const losses = training.map((ids) => step([ids]));
    console.log(`round ${round}: loss ${estimate(losses).mean.toFixed(3)}`);
  }
  const rows = Object.entries({ dense, "nf3-asym g64": before, "and adapters": scores(model) });
  console.log();
  console.log(
    await renderTable(rows.map(([way, [learnt, unseen]], i) => {
      const { mean, standardError } = estimateDifference(dense[1], unseen);
      return {
        way,
        "bits/weight": i === 0 ? 16 : model.bitsPerWeight,
        "weight error": i === 0 ? 0 : nmse!,
        "training text": perplexityOf(estimate(learnt)).mean,
        "held-out text": perplexityOf(estimate(unseen)).mean,
        "nats over dense": mean,
        "+-": standardError!,
      };
    })),
  );
  console.log(`the base is ${bits === await hash() ? "bit for bit what it was" : "changed"}`);
  await saveAdapters(model, join(work, "adapters"), "tiny-llama");
  console.log(`adapters: ${(await readdir(join(work, "adapters"))).sort().join(", ")}`);
  console.log("The AFPQ paper names QLoRA as future work and has no numbers for it.");
} finally {
  await rm(work, { recursive: true });
}
