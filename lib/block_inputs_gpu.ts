/**
 * Blocks on a GPU: what block_inputs.ts does in plain TypeScript. The block's weights go up, and each
 * linear's inputs are summed where they arise, by gram.wgsl in f32, without coming down.
 *
 * Buffers of activations are shared by all windows, so a window cannot wait at a linear: for each
 * linear it runs again from the block's beginning up to there, by a record that ends with the sum.
 * What is replaced meanwhile goes up anew. The largest input of each column is found on the host.
 *
 * @module
 */

import type { Block, HostLayer, InputMoments, StartBlock } from "./block_inputs.ts";
import type { CpuWeight } from "./cpu_ops.ts";
import type { Device } from "./device.ts";
import {
  type Activations,
  createRecorder,
  type GpuState,
  type GpuWeight,
  type Recorder,
} from "./gpu_ops.ts";
import { largest } from "./gram_reference.ts";
import { allocate, type Dispatch, download, type Gpu, submit, upload, write } from "./launch.ts";
import { type ModelConfig, rotationTable } from "./model_config.ts";
import { layerSteps, type LayerWeights, type LinearName, linearNames } from "./ops.ts";
import { prepareAll, stepOf } from "./product.ts";
import { bindingBytes, freeAll, kindOf, loadStack, UNIFORM } from "./resident.ts";

/** Blocks on a device with a GPU, for windows of up to `context` tokens. */
export function blocksOnGpu(device: Device, config: ModelConfig, context: number): StartBlock {
  return async (layer, windows) => {
    const run = {
      device,
      config,
      context,
      layer,
      windows,
      state: await createState(device, config, context),
    };
    const asked: LinearName[] = [];
    const block: Block = {
      async moments(linear) {
        expectOrder(asked, linear);
        return await collect(run, linear);
      },
      async finish() {
        const hidden = await runOut(run);
        for (const buffer of buffersOf(run.state)) buffer.destroy();
        return hidden;
      },
    };
    return block;
  };
}

/** A block in work. */
interface Run {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly context: number;
  readonly layer: HostLayer;
  readonly windows: readonly Float32Array[];
  readonly state: GpuState;
}

function expectOrder(asked: LinearName[], linear: LinearName): void {
  if (linearNames[asked.length] !== linear) {
    throw new Error(`Cannot collect inputs as linears come in order: got ${linear} out of it`);
  }
  asked.push(linear);
}

async function createState(
  device: Device,
  config: ModelConfig,
  context: number,
): Promise<GpuState> {
  const gpu = device.gpu!;
  const bytes = 4 * context * config.kvHeads * config.headDim;
  return {
    device,
    config,
    caches: [{ keys: await allocate(gpu, bytes), values: await allocate(gpu, bytes) }],
    kvF16: false,
    rotations: await upload(gpu, rotationTable(config, context)),
    ids: await allocate(gpu, 4 * context),
    step: await allocate(gpu, 16, UNIFORM),
    unused: await allocate(gpu, 16),
  };
}

function buffersOf({ caches, rotations, ids, step, unused }: GpuState): GPUBuffer[] {
  return [...caches.flatMap(({ keys, values }) => [keys, values]), rotations, ids, step, unused];
}

/** Moments of the inputs of one linear, over all windows. */
async function collect(run: Run, linear: LinearName): Promise<InputMoments> {
  const gpu = run.device.gpu!;
  const { cols } = run.layer[linear].parts[0];
  const sums = await allocateSums(gpu, cols);
  const most = new Float64Array(cols);
  let tokens = 0;
  await withRecord(run, linear, sums, async (dispatches, _x, input, runWindow) => {
    for (const window of run.windows) {
      const own = await runWindow(window, dispatches);
      const values = await download(gpu, input.buffer, 4 * own * input.stride);
      largest(most, withoutPadding(values, own, input));
      tokens += own;
    }
  });
  const h = new Float64Array(cols * cols);
  for (const { firstRow, rows, buffer } of sums) {
    const part = await download(gpu, buffer, 4 * rows * cols);
    h.set(part.map((sum) => sum / tokens), firstRow * cols);
    buffer.destroy();
  }
  return { cols, tokens, h, largest: most };
}

/** A run of rows of H. */
interface Sums {
  readonly firstRow: number;
  readonly rows: number;
  /** [rows, cols] */
  readonly buffer: GPUBuffer;
}

/** H [cols, cols] of zeros, in as many runs of rows as fit a binding each. */
async function allocateSums(gpu: Gpu, cols: number): Promise<Sums[]> {
  const most = Math.floor(bindingBytes(gpu) / (4 * cols));
  const sums: Sums[] = [];
  for (let firstRow = 0; firstRow < cols; firstRow += most) {
    const rows = Math.min(most, cols - firstRow);
    sums.push({ firstRow, rows, buffer: await allocate(gpu, 4 * rows * cols) });
  }
  return sums;
}

/** Hidden states after the block. */
async function runOut(run: Run): Promise<Float32Array[]> {
  const hidden: Float32Array[] = [];
  await withRecord(run, null, [], async (dispatches, x, _input, runWindow) => {
    for (const window of run.windows) {
      const own = await runWindow(window, dispatches);
      const values = await download(run.device.gpu!, x.buffer, 4 * own * x.stride);
      hidden.push(withoutPadding(values, own, x));
    }
  });
  return hidden;
}

/** Runs a window's hidden states through dispatches; gives how many tokens it has. */
type RunWindow = (window: Float32Array, dispatches: Dispatch[]) => Promise<number>;

/** Records the block up to a linear, or as a whole, for the time of `act`. */
async function withRecord(
  run: Run,
  linear: LinearName | null,
  sums: readonly Sums[],
  act: (d: Dispatch[], x: Activations, input: Activations, runWindow: RunWindow) => Promise<void>,
): Promise<void> {
  const { device, config, context, state } = run;
  const gpu = device.gpu!;
  const loaded = await loadLayer(run, linear);
  const recorder = createRecorder(state, context);
  const x = recorder.scratch("residual", config.dim);
  let input = x;
  try {
    for (const step of layerSteps(recorder.ops, loaded.weights, 0, x)) {
      if (step.linear !== linear) continue;
      input = step.input;
      break;
    }
    for (const each of sums) recordGram(recorder, input, each, state.step);
    const dispatches = await prepareAll(gpu, recorder.record);
    await act(dispatches, x, input, async (window, dispatches) => {
      const own = window.length / config.dim;
      await write(gpu, x.buffer, 0, padded(window, own, x));
      await write(gpu, state.step, 0, stepOf(own, 0, config.headDim / 2));
      await submit(gpu, dispatches);
      return own;
    });
  } finally {
    recorder.free();
    loaded.free();
  }
}

function recordGram(
  recorder: Recorder,
  { buffer, width, stride }: Activations,
  { firstRow, rows, buffer: h }: Sums,
  step: GPUBuffer,
): void {
  recorder.add("gram", {
    constants: { COLS: width, STRIDE: stride, FIRST_ROW: firstRow, ROWS: rows },
    buffers: [buffer, h, step],
    workgroups: Math.ceil(rows / 32) * Math.ceil(width / 32),
  });
}

/** What of a layer runs before a linear, on the device; the rest stands there unused. */
async function loadLayer(
  { device, layer }: Run,
  until: LinearName | null,
): Promise<{ weights: LayerWeights<GpuWeight, GPUBuffer>; free(): void }> {
  const gpu = device.gpu!;
  const slices: GpuWeight["slices"][] = [], vectors: GPUBuffer[] = [];
  const vector = async (values: Float32Array) => {
    vectors.push(await upload(gpu, values));
    return vectors[vectors.length - 1];
  };
  const matrix = async (linear: LinearName): Promise<GpuWeight> => {
    const { parts, bias } = layer[linear];
    const rows = parts.reduce((sum, part) => sum + part.rows, 0);
    const before = until === null || linearNames.indexOf(linear) < linearNames.indexOf(until);
    const own = before ? await loadStack(device, sourcesOf(layer[linear])) : [];
    slices.push(own);
    return { rows, cols: parts[0].cols, slices: own, bias: bias && await vector(bias) };
  };
  const { headNorms } = layer;
  const weights = {
    attentionNorm: await vector(layer.attentionNorm),
    qkv: await matrix("qkv"),
    headNorms: headNorms && { q: await vector(headNorms.q), k: await vector(headNorms.k) },
    output: await matrix("output"),
    mlpNorm: await vector(layer.mlpNorm),
    gateUp: await matrix("gateUp"),
    down: await matrix("down"),
  };
  const free = () => {
    slices.forEach(freeAll);
    for (const buffer of vectors) buffer.destroy();
  };
  return { weights, free };
}

function sourcesOf({ parts }: CpuWeight) {
  return parts.map((part) => ({
    rows: part.rows,
    cols: part.cols,
    kind: "codes" in part ? kindOf(part) : part.dtype as string,
    read: () => Promise.resolve(part),
  }));
}

function padded(x: Float32Array, tokens: number, { width, stride }: Activations): Float32Array {
  const rows = new Float32Array(tokens * stride);
  for (let t = 0; t < tokens; t++) rows.set(x.subarray(t * width, (t + 1) * width), t * stride);
  return rows;
}

function withoutPadding(
  rows: Float32Array,
  tokens: number,
  { width, stride }: Activations,
): Float32Array {
  const x = new Float32Array(tokens * width);
  for (let t = 0; t < tokens; t++) x.set(rows.subarray(t * stride).subarray(0, width), t * width);
  return x;
}
