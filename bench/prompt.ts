/**
 * How fast many tokens go through a device: GFLOP/s of single products [2048, 2048] and of a whole
 * prompt through the shipped model, dense and packed.
 *
 * Correct first: a product must agree with the reference within its kernel's bound. Then rounds, each
 * of all cases in turn, and the median. Beside the wall's clock stands the time that worker threads
 * spent (Linux): two cores' worth of that is what a device in software does where it has them to
 * itself; on a hardware GPU the column means nothing.
 *
 *   deno task bench:prompt [--binding B] [--embedded] [--cols N] [--batches 8,64,128] [--rounds N]
 *   bun bench/prompt.ts ...
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import {
  type DenseMatrix,
  type Device,
  type LanguageModel,
  load,
  loadModel,
  narrow,
  quantize,
  quantizeCheckpoint,
  reference,
  renderTable,
} from "../mod.ts";
import { bindings } from "../lib/device.ts";
import { download, empty, submit } from "../lib/launch.ts";
import { prepareProduct, uploadTokens } from "../lib/prepared_product.ts";
import { readNumber, readOneOf, text } from "../lib/read_options.ts";
import { openGpu, orEnd } from "./attended.ts";
import { batchOf, listOf, parse } from "./options.ts";
import { runtime, today } from "./runtime.ts";

const { binding, embedded, cols, batches, rounds } = await orEnd(() => {
  const parsed = parse(process.argv.slice(2), ["binding", "cols", "batches", "rounds"], [
    "embedded",
  ]);
  return {
    binding: readOneOf("binding", text(parsed.binding), bindings),
    embedded: parsed.embedded === true,
    cols: readNumber(parsed, "cols", { least: 8, most: 2 ** 16 }) ?? 2048,
    batches: listOf(parsed, "batches", batchOf) ?? [8, 64, 128],
    rounds: readNumber(parsed, "rounds", { least: 1, most: 10_000 }) ?? 5,
  };
});
const rows = cols;

/** Something to be timed: what it is called, its floating-point operations, and one go. */
interface Case {
  name: string;
  flop: number;
  go: () => Promise<unknown>;
}

const device = await orEnd(() =>
  openGpu(embedded ? { binding: "software", embedded: true } : { binding })
);
const cases = [...await products(device), ...await prompts(device)];
const times = await inTurn(cases);
const table = cases.map(({ name, flop }, i) => ({
  "case": name,
  "GFLOP/s": gigaflops(flop, median(times[i].map(({ wall }) => wall))),
  "of two cores": gigaflops(2 * flop, median(times[i].map(({ cpu }) => cpu))),
}));
console.log(
  `${device.adapter}, ${runtime}, ${cpus().length} cores (${cpus()[0].model}), ${today()}`,
);
console.log(`Median of ${rounds} rounds\n`);
console.log(await renderTable(table, process.stdout.isTTY ? "text" : "markdown"));
device.close();

/** One product of each format and batch, on matrices that stay on the device. */
async function products(device: Device): Promise<Case[]> {
  const w = Float32Array.from({ length: rows * cols }, (_, i) => 0.05 * Math.sin(i * i % 9973));
  const dense = (dtype: DenseMatrix["dtype"]): DenseMatrix => {
    return { name: dtype, rows, cols, dtype, bytes: narrow(w, dtype) };
  };
  const packed = (format: string) => quantize(w, { rows, cols, format, group: 128, name: format });
  const matrices = [
    dense("BF16"),
    dense("F16"),
    ...["fp4-asym", "nf4-asym", "fp3-asym", "nf3-asym"].map(packed),
  ];
  const all: Case[] = [];
  for (const batch of batches) {
    const x = Float32Array.from({ length: batch * cols }, (_, i) => Math.cos(i));
    for (const matrix of matrices) {
      const go = await productOf(device, matrix, x, batch);
      all.push({ name: `${matrix.name} x ${batch} tokens`, flop: 2 * rows * cols * batch, go });
    }
  }
  return all;
}

/** A product, once it is shown to be right for its first token; x and y stay on the device. */
async function productOf(
  device: Device,
  matrix: DenseMatrix | ReturnType<typeof quantize>,
  x: Float32Array,
  tokens: number,
): Promise<() => Promise<Float32Array>> {
  const gpu = device.gpu!;
  const xBuffer = await uploadTokens(device, x, tokens, cols);
  const y = empty(gpu, 4 * tokens * rows);
  const product = { tokens, x: xBuffer, y };
  const { dispatches } = await prepareProduct(
    device,
    "matmul",
    await load(device, matrix),
    product,
  );
  const go = async () => {
    await submit(gpu, dispatches);
    return await download(gpu, y);
  };
  const first = x.subarray(0, cols);
  const [wanted, bounds] = "codes" in matrix
    ? [reference.matmul(matrix, first, 1), reference.matmulBound(matrix, first, 1)]
    : [reference.denseMatmul(matrix, first, 1), reference.denseBound(matrix, first, 1)];
  expectWithin(await go(), wanted, bounds);
  return go;
}

function expectWithin(y: Float32Array, wanted: Float32Array, bounds: Float64Array): void {
  const far = wanted.findIndex((value, i) => !(Math.abs(y[i] - value) <= bounds[i]));
  if (far >= 0) throw new Error(`Output ${far} must be ${wanted[far]}: got ${y[far]}`);
}

/** A prompt of 255 tokens through the shipped model, dense and packed. */
async function prompts(device: Device): Promise<Case[]> {
  const source = fileURLToPath(new URL("../examples/tiny-llama/", import.meta.url));
  const ids = Array.from({ length: 255 }, (_, i) => i * 7919 % 2048);
  const all: Case[] = [];
  for (const format of ["dense", "nf4-asym", "fp4-asym"]) {
    const packed = await mkdtemp(join(tmpdir(), "afpq-bench-"));
    const folder = format === "dense" ? source : join(packed, format);
    if (format !== "dense") await quantizeCheckpoint(source, folder, { format });
    const model = await loadModel(device, folder);
    await rm(packed, { recursive: true });
    await model.top(ids, 1);
    all.push({
      name: `tiny-llama ${format}, prompt of 255`,
      flop: ids.length * linearFlop(model.config),
      go: async () => {
        model.reset();
        await model.top(ids, 1);
      },
    });
  }
  return all;
}

/** Operations of a model's linears for one token, the head and the attention apart. */
function linearFlop(
  { dim, hidden, heads, kvHeads, headDim, layers }: LanguageModel["config"],
): number {
  const attention = dim * headDim * (2 * heads + 2 * kvHeads);
  return 2 * layers * (attention + 3 * dim * hidden);
}

/** Seconds of each case: rounds of all in turn, after one to warm up. */
async function inTurn(cases: Case[]): Promise<{ wall: number; cpu: number }[][]> {
  const times = cases.map((): { wall: number; cpu: number }[] => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [i, { go }] of cases.entries()) {
      const before = workerSeconds(), start = performance.now();
      await go();
      const wall = (performance.now() - start) / 1e3;
      if (round > 0) times[i].push({ wall, cpu: workerSeconds() - before });
    }
  }
  return times;
}

/** CPU time of all threads but this one, which polls while it waits. */
function workerSeconds(): number {
  if (process.platform !== "linux") return NaN;
  let nanoseconds = 0;
  for (const thread of readdirSync("/proc/self/task")) {
    if (Number(thread) === process.pid) continue;
    try {
      const text = readFileSync(`/proc/self/task/${thread}/schedstat`, "utf8");
      nanoseconds += Number(text.split(" ", 1)[0]);
    } catch { /* the thread is gone */ }
  }
  return nanoseconds / 1e9;
}

function gigaflops(flop: number, seconds: number): number {
  return Math.round(flop / seconds / 1e7) / 100;
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}
