/**
 * QLoRA on the demo's model: adapters of rank 8 trained on a frozen 3-bit base, AFPQ's two scales in 8
 * bits each, so that the text it is trained on gets likelier, and held-out text as well.
 *
 * You will see the loss over training, bits a weight of the base (8-bit scales and their runs
 * included), weight error, and perplexity on held-out text before and after, with its paired
 * difference to the dense model. The base's bits are hashed before and after: they are the same.
 * Adapters are written as PEFT reads them.
 *
 *   y = W' x + (alpha / rank) B (A x), W' frozen
 *
 *   deno run -A examples/qlora.ts [STEPS]        about a minute with 60 steps; 300 take five
 *   bun examples/qlora.ts [STEPS]
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

const steps = Number(process.argv[2] ?? 60);
const folder = await tinyLlamaFolder();
const work = await mkdtemp(join(tmpdir(), "afpq-"));
const tokenizer = await openTokenizer(folder);
const cut = async (name: string, windows?: number) =>
  textWindows(tokenizer, await readFile(join(folder, name), "utf8"), { context: 65, windows })
    .windows;
const training = await cut("calibration.txt");
const heldOut = (await cut("heldout.txt")).filter((_, i) => i % 12 === 0);

const lora = { rank: 8, alpha: 16, targets: ["q_proj", "v_proj", "o_proj", "down_proj"] };
const load = async (path: string) => {
  const checkpoint = await openCheckpoint(path);
  return await loadLora(checkpoint, await openModelConfig(checkpoint), lora);
};
const score = (model: LoraModel) => heldOut.map((ids) => lossOf(model, ids, { backward: false }));
const hash = async () =>
  createHash("sha256").update(await readFile(join(work, "base", "model.safetensors"))).digest(
    "hex",
  );

try {
  const dense = score(await load(folder));
  const { nmse } = await quantizeCheckpoint(folder, join(work, "base"), {
    format: "nf3-asym",
    group: 64,
  });
  const [model, bits] = [await load(join(work, "base")), await hash()];
  const before = score(model);
  const step = createTrainer(model, { rate: 1e-3 });
  let sum = 0;
  for (let i = 0; i < steps; i++) {
    sum += step([training[i * 7 % training.length]]);
    if (i % 20 < 19) continue;
    console.log(`steps ${i - 18} to ${i + 1}: loss ${(sum / 20).toFixed(3)}`);
    sum = 0;
  }
  const rows = Object.entries({ dense, "nf3-asym g64": before, "and adapters": score(model) });
  console.log();
  console.log(
    await renderTable(rows.map(([way, losses], i) => {
      const { mean, standardError } = estimateDifference(dense, losses);
      return {
        way,
        "bits/weight": i === 0 ? 16 : model.bitsPerWeight,
        "weight error": i === 0 ? 0 : nmse!,
        perplexity: perplexityOf(estimate(losses)).mean,
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
