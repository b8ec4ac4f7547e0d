/**
 * What each fusion brings to a token that a model writes: the whole token as `generate` runs it,
 * against the same with one fusion undone.
 *
 *   q, k, v             one product with the three stacked      three products
 *   gate, up, silu      one kernel                              two products and silu_mul
 *   residual sums       into the products of output and down    kernels of their own
 *   norms               nowhere: here they are left out, which is wrong, and more than fusing them
 *                       into the products after them could bring
 *
 * Correct first: the logits of each but the last must be those of the token as it runs. Then rounds,
 * each of which times every variant once, in turn from another one on. Ratios are taken within a round,
 * and their median told; on a machine that does other things as well, the ratio of the times that a
 * tenth of the rounds stay below says more.
 *
 *   deno task bench:fusion        bun bench/fusion.ts
 *
 * @module
 */
import process from "node:process";
import addText from "./add.wgsl" with { type: "text" };
import { type Device, quantize, type QuantizedMatrix, renderTable, type Row } from "../mod.ts";
import { createRecorder, type GpuState, type GpuWeight, type Recorder } from "../lib/gpu_ops.ts";
import { kernelFor, type KernelName } from "../lib/kernels.ts";
import {
  allocate,
  type Dispatch,
  download,
  prepare,
  submit,
  upload,
  write,
} from "../lib/launch.ts";
import { type ModelConfig, readModelConfig, rotationTable } from "../lib/model_config.ts";
import { forward, type ModelWeights } from "../lib/ops.ts";
import { stepOf } from "../lib/product.ts";
import { load, type Slice, UNIFORM } from "../lib/resident.ts";
import { lanes } from "../lib/tiling.ts";
import { openGpu, orEnd } from "./attended.ts";
import { parse } from "./options.ts";
import { runtime, today } from "./runtime.ts";

type Weights = ModelWeights<GpuWeight, GPUBuffer>;

/** A token as it runs, or with one thing changed. */
interface Variant {
  readonly name: string;
  /** What is not stacked. */
  readonly apart?: "qkv" | "gateUp";
  readonly change?: (recorder: Recorder, device: Device) => Partial<Recorder["ops"]>;
}

const ADD = { name: "add", code: addText };
const POSITION = 100;
const WARM = 3;
let seed = 1;

const FUSED: Variant = { name: "as it runs" };
const VARIANTS: readonly Variant[] = [
  { name: "q, k, v apart", apart: "qkv" },
  { name: "gate, up, silu apart", apart: "gateUp" },
  { name: "residual sums apart", change: sumsApart },
  { name: "no norms at all", change: () => ({ norm: (x) => x }) },
];

/** Shapes: those of the shipped model, and two layers of TinyLlama 1.1B. */
const SHAPES = {
  "tiny-llama": {
    dim: 256,
    hidden: 768,
    layers: 6,
    heads: 4,
    kvHeads: 2,
    vocab: 2048,
    rounds: 200,
  },
  "TinyLlama, 2 layers": {
    ...{ dim: 2048, hidden: 5632, layers: 2, heads: 32, kvHeads: 4, vocab: 512, rounds: 60 },
  },
};

const device = await orEnd(() => {
  parse(process.argv.slice(2), [], []);
  return openGpu({ log: (line) => console.error(line) });
});
const { gpu } = device;
const rows: Row[] = [];
for (const [name, shape] of Object.entries(SHAPES)) rows.push(...await timed(name, shape));
console.log(`${runtime}, ${device.adapter}, ${today()}`);
console.log(`nf4-asym, groups of 128, one token at position ${POSITION}\n`);
console.log(await renderTable(rows, process.stdout.isTTY ? "text" : "markdown"));
device.close();

/** Times the variants of a model. */
async function timed(name: string, shape: typeof SHAPES["tiny-llama"]): Promise<Row[]> {
  const config = configOf(shape);
  const state = await stateOf(config);
  const matrices = Array.from({ length: config.layers }, () => layerMatrices(config));
  const head = await weightOf(made([config.vocab], config.dim));
  const all: Token[] = [];
  for (const variant of [FUSED, ...VARIANTS]) {
    all.push(await recordToken(state, await weightsOf(config, matrices, head, variant), variant));
  }
  const [wanted, ...others] = await inTurn(all, ({ logits }) => download(gpu, logits));
  others.slice(0, -1).forEach((logits, i) => expectEqual(logits, wanted, VARIANTS[i].name));
  const rounds: number[][] = [];
  for (let round = 0; round < WARM + shape.rounds; round++) rounds.push(await roundOf(all, round));
  const counted = rounds.slice(WARM);
  const quantile = (values: number[], q: number) =>
    values.sort((a, b) => a - b)[Math.round(q * (values.length - 1))];
  const fastest = (v: number) => quantile(counted.map((times) => times[v]), 0.1);
  return VARIANTS.map((variant, v) => {
    const ratios = counted.map((times) => times[v + 1] / times[0]);
    return {
      model: name,
      variant: variant.name,
      dispatches: `${all[v + 1].dispatches.length} for ${all[0].dispatches.length}`,
      "time / as it runs": quantile(ratios, 0.5),
      "20 %": quantile(ratios, 0.2),
      "80 %": quantile(ratios, 0.8),
      "of fastest tenths": fastest(v + 1) / fastest(0),
    };
  });
}

/** Milliseconds of each variant, begun with another one each round. */
async function roundOf(all: Token[], round: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < all.length; i++) {
    const v = (i + round) % all.length;
    const start = performance.now();
    await submit(gpu, all[v].dispatches);
    await gpu.device.queue.onSubmittedWorkDone();
    times[v] = performance.now() - start;
  }
  return times;
}

/** A token that can be submitted. */
interface Token {
  readonly dispatches: Dispatch[];
  readonly logits: GPUBuffer;
}

async function recordToken(state: GpuState, weights: Weights, { change }: Variant): Promise<Token> {
  const recorder = createRecorder(state, 1);
  const ops = { ...recorder.ops, ...change?.(recorder, device) };
  const logits = forward(ops, weights, { last: true });
  const dispatches = await Promise.all(recorder.record.map(({ name, launch }) => {
    return prepare(gpu, name === "add" as string ? ADD : kernelFor(name, gpu.features), launch);
  }));
  return { dispatches, logits: logits.buffer };
}

/** Each residual sum by a kernel of its own. */
function sumsApart({ ops, add }: Recorder): Partial<Recorder["ops"]> {
  const WORKGROUP = lanes(device);
  return {
    addLinear(w, x, into) {
      const y = ops.linear(w, x);
      add("add" as KernelName, {
        constants: { COUNT: w.rows, WORKGROUP },
        buffers: [y.buffer, into.buffer],
        workgroups: Math.ceil(w.rows / WORKGROUP),
      });
    },
  };
}

function configOf({ dim, hidden, layers, heads, kvHeads, vocab }: typeof SHAPES["tiny-llama"]) {
  return readModelConfig({
    model_type: "llama",
    hidden_size: dim,
    intermediate_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    vocab_size: vocab,
  });
}

async function stateOf(config: ModelConfig): Promise<GpuState> {
  const bytes = 2 * config.context * config.kvHeads * config.headDim;
  const caches = [];
  for (let layer = 0; layer < config.layers; layer++) {
    caches.push({ keys: await allocate(gpu, bytes), values: await allocate(gpu, bytes) });
  }
  const step = await allocate(gpu, 16, UNIFORM);
  await write(gpu, step, 0, stepOf(1, POSITION, config.headDim / 2));
  return {
    ...{ device, config, caches, kvF16: true, step },
    rotations: await upload(gpu, rotationTable(config, config.context)),
    ids: await upload(gpu, Uint32Array.of(7)),
    unused: await allocate(gpu, 16),
  };
}

/** Matrices of a layer, stacked, each with the rows of what it is stacked from. */
function layerMatrices({ dim, hidden, heads, kvHeads, headDim }: ModelConfig) {
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  return {
    qkv: made([q, kv, kv], dim),
    output: made([dim], q),
    gateUp: made([hidden, hidden], dim),
    down: made([dim], hidden),
  };
}

async function weightsOf(
  config: ModelConfig,
  matrices: ReturnType<typeof layerMatrices>[],
  head: GpuWeight,
  { apart }: Variant,
): Promise<Weights> {
  const gain = await upload(gpu, new Float32Array(config.dim).fill(1));
  const layers = [];
  for (const { qkv, output, gateUp, down } of matrices) {
    layers.push({
      ...{ attentionNorm: gain, headNorms: null, mlpNorm: gain },
      qkv: await weightOf(qkv, apart === "qkv"),
      output: await weightOf(output),
      gateUp: await weightOf(gateUp, apart === "gateUp"),
      down: await weightOf(down),
    });
  }
  return { embedding: head, layers, norm: gain, head };
}

/** A matrix on the device: in one piece, or in those that it is stacked from. */
async function weightOf({ matrix, parts }: Made, apart = false): Promise<GpuWeight> {
  const slices: Slice[] = [];
  let firstRow = 0;
  for (const rows of apart ? parts : [matrix.rows]) {
    const loaded = await load(device, rowsOf(matrix, firstRow, rows));
    for (const slice of loaded.slices) slices.push({ ...slice, firstRow });
    firstRow += rows;
  }
  return { rows: matrix.rows, cols: matrix.cols, slices, bias: null };
}

function rowsOf(matrix: QuantizedMatrix, first: number, rows: number): QuantizedMatrix {
  const of = <T extends QuantizedMatrix["codes" | "scales"]>(all: T) => {
    const stride = all.length / matrix.rows;
    return all.slice(first * stride, (first + rows) * stride) as T;
  };
  return { ...matrix, rows, codes: of(matrix.codes), scales: of(matrix.scales) };
}

/** A matrix, and the rows of those it is stacked from. */
interface Made {
  readonly matrix: QuantizedMatrix;
  readonly parts: readonly number[];
}

/** A matrix of seeded weights that leave the size of activations as it is. */
function made(parts: readonly number[], cols: number): Made {
  const rows = parts.reduce((a, b) => a + b);
  const random = () => (seed = Math.imul(seed, 48271) >>> 0) / 2 ** 32 - 0.5;
  const w = Float32Array.from({ length: rows * cols }, () => random() * Math.sqrt(12 / cols));
  return { matrix: quantize(w, { rows, cols, format: "nf4-asym", group: 128 }), parts };
}

async function inTurn(
  all: Token[],
  read: (token: Token) => Promise<Float32Array>,
): Promise<Float32Array[]> {
  const results = [];
  for (const token of all) {
    await submit(gpu, token.dispatches);
    results.push(await read(token));
  }
  return results;
}

function expectEqual(got: Float32Array, wanted: Float32Array, name: string): void {
  const most = wanted.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const worst = got.reduce((a, b, i) => Math.max(a, Math.abs(b - wanted[i])), 0);
  if (!(worst <= 2e-4 * most)) throw new Error(`"${name}" is off by ${worst} of ${most}`);
}
