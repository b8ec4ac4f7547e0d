/**
 * QLoRA on the demo's model: adapters of rank 8 trained on a frozen 3-bit base, AFPQ's two scales in 8
 * bits each, one window of text a step.
 *
 * You will see the loss as it is trained; then bits a weight of the base (8-bit scales and their runs
 * included), weight error, and perplexity with its paired difference to the dense model. The text is
 * every other address of `heldout.txt`, and what is scored is the addresses between, which neither
 * model nor adapters have seen: adapters win back some of what 3 bits lose there. `calibration.txt`
 * would not do: the model was trained on it, and seeing it again only teaches it by heart. The base's
 * bits are hashed before and after: they are the same. Adapters are written as PEFT reads them.
 *
 *   y = W' x + (alpha / rank) B (A x), W' frozen
 *
 *   deno run -A examples/qlora.ts [STEPS [WINDOWS]]     two or three minutes with 100 steps
 *   bun examples/qlora.ts [STEPS [WINDOWS]]             WINDOWS: to train on, 131 unless told
 *
 * @module
 */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
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
import { askedCounts } from "./asked_counts.ts";
import { temporaryFolder } from "./ending.ts";
import { tinyLlamaFolder } from "./tiny_llama.ts";

const { steps, windows } = askedCounts({ steps: 100, windows: Infinity });
const folder = await tinyLlamaFolder();
const work = temporaryFolder();
const tokenizer = await openTokenizer(folder);
const addresses = (await readFile(join(folder, "heldout.txt"), "utf8")).trim().split("\n");
/** Windows of every other address, from all over them. */
const cut = (odd: number) => {
  const all = addresses.filter((_, i) => i % 2 === odd)
    .flatMap((text) => textWindows(tokenizer, text, { context: 65 }).windows);
  return all.map((_, i) => all[i * 37 % all.length]);
};
const training = cut(0).slice(0, windows), heldOut = cut(1).slice(0, Math.min(40, windows));

const lora = { rank: 8, alpha: 16, targets: ["q_proj", "v_proj", "o_proj", "down_proj"] };
const load = async (path: string) => {
  const checkpoint = await openCheckpoint(path);
  return await loadLora(checkpoint, await openModelConfig(checkpoint), lora);
};
const score = (model: LoraModel, windows: readonly Uint32Array[]) =>
  windows.map((ids) => lossOf(model, ids, { backward: false }));
/** Losses of both texts. */
const scores = (model: LoraModel) => [score(model, training.slice(0, 24)), score(model, heldOut)];
const hash = async () =>
  createHash("sha256").update(await readFile(join(work, "base", "model.safetensors"))).digest(
    "hex",
  );

const dense = scores(await load(folder));
const { nmse } = await quantizeCheckpoint(folder, join(work, "base"), {
  format: "nf3-asym",
  group: 64,
});
const [model, bits] = [await load(join(work, "base")), await hash()];
const before = scores(model);
const step = createTrainer(model, { rate: 2e-4 });
const losses: number[] = [];
for (let at = 1; at <= steps; at++) {
  losses.push(step([training[at % training.length]]));
  if (at % Math.ceil(steps / 4) > 0 && at < steps) continue;
  console.log(`step ${at}: loss ${estimate(losses.splice(0)).mean.toFixed(3)}`);
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
