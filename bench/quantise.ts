/**
 * How fast one core quantises bf16 weights, by format: MB/s of bf16 input, from bytes to packed codes
 * and scales, in groups of 128.
 *
 * Correct first: each format's weight error is in the table, and must be that of the golden values
 * (tests/golden_test.ts holds it closely; here a gross change stops the run). Then five rounds to warm
 * up, then the median of 15, with the 20 % and 80 % quantiles.
 *
 * Then a whole checkpoint, the linears of two blocks of an 800 M parameter model, 176 MB: from file to
 * folder, error report and hashes and all, plainly and under a budget (`--bits`), which chooses recipes
 * on a sample first. Once to warm up, then the median of 3, in processor time as in time.
 *
 *   deno task bench:quantise
 *   bun bench/quantise.ts
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import {
  formatNames,
  narrow,
  nmseOf,
  quantizationError,
  quantize,
  quantizeCheckpoint,
  type QuantizeCheckpointOptions,
  renderTable,
  widen,
  writeSafetensors,
} from "../mod.ts";
import { orEnd } from "./attended.ts";
import { parse } from "./options.ts";
import { runtime, today } from "./runtime.ts";

await orEnd(() => parse(process.argv.slice(2), [], []));

/** A projection of an 800 M parameter model: 4.2 M weights, 8.4 MB in bf16. */
const rows = 2048, cols = 2048;
const [WARM, ROUNDS] = [5, 15];

const bytes = narrow(normalWeights(rows * cols), "BF16");
const weights = widen(bytes, "BF16");

/** Sorted MB/s of all rounds. */
function rates(format: string): number[] {
  const all = Array.from({ length: WARM + ROUNDS }, () => {
    const start = performance.now();
    quantize(widen(bytes, "BF16"), { rows, cols, format, group: 128 });
    return bytes.length / 1e6 / ((performance.now() - start) / 1e3);
  });
  return all.slice(WARM).sort((a, b) => a - b);
}

const quantile = (sorted: number[], q: number) => sorted[Math.round(q * (sorted.length - 1))];

const table = formatNames.map((format) => {
  const q = quantize(weights, { rows, cols, format, group: 128 });
  const error = nmseOf(quantizationError(q, weights));
  if (!(error < 0.1)) throw new Error(`${format} has weight error ${error}`);
  const sorted = rates(format);
  const [low, median, high] = [0.2, 0.5, 0.8].map((at) => Math.round(quantile(sorted, at)));
  return { format, "weight error": error, "MB/s": median, "20 %": low, "80 %": high };
});

/** Rows and columns of a block's linears, by name. */
const LINEARS: Record<string, [number, number]> = {
  "self_attn.q_proj": [2048, 2048],
  "self_attn.k_proj": [512, 2048],
  "self_attn.v_proj": [512, 2048],
  "self_attn.o_proj": [2048, 2048],
  "mlp.gate_proj": [5632, 2048],
  "mlp.up_proj": [5632, 2048],
  "mlp.down_proj": [2048, 5632],
};
const BLOCKS = 2, RUNS = 3;

const cpu = cpus()[0].model;
const date = today();
const style = process.stdout.isTTY ? "text" : "markdown";
console.log(`${runtime}, one core of ${cpus().length} (${cpu}), ${date}`);
console.log(`W [${rows}, ${cols}] bf16, groups of 128, median of ${ROUNDS} rounds\n`);
console.log(await renderTable(table, style));
const whole = await timeCheckpoints({
  "--format nf4-asym": { format: "nf4-asym" },
  "--bits 4.25": { bits: 4.25 },
  "--bits 3.25": { bits: 3.25 },
});
console.log(`${BLOCKS} blocks from file to folder, median of ${RUNS} runs\n`);
console.log(await renderTable(whole, style));
console.log(JSON.stringify({ runtime, cpu, date, rows: table, checkpoint: whole }));

/** MB/s of whole checkpoints, one row for each way. */
async function timeCheckpoints(ways: Record<string, QuantizeCheckpointOptions>) {
  const folder = await mkdtemp(join(tmpdir(), "afpq-"));
  try {
    const model = join(folder, "model.safetensors"), megabytes = await writeBlocks(model);
    const told = [];
    for (const [way, options] of Object.entries(ways)) {
      const runs: Run[] = [];
      for (let i = 0; i <= RUNS; i++) runs.push(await timeRun(model, join(folder, "out"), options));
      const rate = (key: "seconds" | "busy") => {
        const sorted = runs.slice(1).map((run) => run[key]).sort((a, b) => a - b);
        return Math.round(megabytes / quantile(sorted, 0.5));
      };
      told.push({
        way,
        "bits/weight": runs[0].bits,
        "weight error": runs[0].error,
        "MB/s": rate("seconds"),
        "MB/s of a core": rate("busy"),
      });
    }
    return told;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** What one run came to, and took of time and of processor time, in seconds. */
interface Run {
  readonly bits: number;
  readonly error: number;
  readonly seconds: number;
  readonly busy: number;
}

async function timeRun(
  model: string,
  out: string,
  options: QuantizeCheckpointOptions,
): Promise<Run> {
  const [start, before] = [performance.now(), process.cpuUsage()];
  const { bitsPerWeight, nmse } = await quantizeCheckpoint(model, out, options);
  const { user, system } = process.cpuUsage(before);
  const seconds = (performance.now() - start) / 1e3;
  await rm(out, { recursive: true });
  return { bits: bitsPerWeight, error: nmse!, seconds, busy: (user + system) / 1e6 };
}

/** Writes blocks of normal weights; MB of them. */
async function writeBlocks(path: string): Promise<number> {
  const sources = Array.from({ length: BLOCKS }, (_, block) => {
    return Object.entries(LINEARS).map(([name, shape]) => ({
      name: `model.layers.${block}.${name}.weight`,
      dtype: "BF16" as const,
      shape,
      bytes: () => narrow(normalWeights(shape[0] * shape[1]), "BF16"),
    }));
  }).flat();
  await writeSafetensors(path, sources);
  return sources.reduce((sum, { shape: [rows, cols] }) => sum + 2 * rows * cols, 0) / 1e6;
}

/** Normal numbers, seeded. */
function normalWeights(length: number): Float32Array {
  let state = 1;
  const random = () => (state = Math.imul(state, 48271) >>> 0) / 2 ** 32 || 2 ** -33;
  return Float32Array.from(
    { length },
    () => 0.02 * Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random()),
  );
}
