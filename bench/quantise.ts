/**
 * How fast one core quantises bf16 weights, by format: MB/s of bf16 input, from bytes to packed codes
 * and scales, in groups of 128.
 *
 * Correct first: each format's weight error is in the table, and must be that of the golden values
 * (tests/golden_test.ts holds it closely; here a gross change stops the run). Then five rounds to warm
 * up, then the median of 15, with the 20 % and 80 % quantiles.
 *
 *   deno task bench:quantise
 *   bun bench/quantise.ts
 *
 * @module
 */
import { cpus } from "node:os";
import process from "node:process";
import {
  formatNames,
  narrow,
  nmseOf,
  quantizationError,
  quantize,
  renderTable,
  widen,
} from "../mod.ts";

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

const runtime = "Bun" in globalThis
  ? `Bun ${process.versions.bun}`
  : `Deno ${process.versions.deno}`;
const cpu = cpus()[0].model;
const date = new Date().toISOString().slice(0, 10);
console.log(`${runtime}, one core of ${cpus().length} (${cpu}), ${date}`);
console.log(`W [${rows}, ${cols}] bf16, groups of 128, median of ${ROUNDS} rounds\n`);
console.log(await renderTable(table, process.stdout.isTTY ? "text" : "markdown"));
console.log(JSON.stringify({ runtime, cpu, date, rows: table }));

/** Normal numbers, seeded. */
function normalWeights(length: number): Float32Array {
  let state = 1;
  const random = () => (state = Math.imul(state, 48271) >>> 0) / 2 ** 32 || 2 ** -33;
  return Float32Array.from(
    { length },
    () => 0.02 * Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random()),
  );
}
