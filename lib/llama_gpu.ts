/**
 * A LLaMA-family model on the GPU: weights, cache and records of what to run.
 *
 * There are three records, made when first needed: one token, a chunk of which only the last token's
 * logits matter, and a chunk with logits for all. A run writes ids and position, submits a record,
 * and reads back what was asked for.
 *
 * @module
 */

import type { Device } from "./device.ts";
import { createRecorder, type GpuState, type GpuWeight, type Recorder } from "./gpu_ops.ts";
import {
  allocate,
  type Dispatch,
  download,
  empty,
  type Gpu,
  submit,
  upload,
  write,
} from "./launch.ts";
import { type ModelConfig, rotationTable } from "./model_config.ts";
import { forward, type ModelWeights } from "./ops.ts";
import { prepareAll, stepOf } from "./product.ts";
import type { Candidates, ReadInto, Runner, RunnerOptions } from "./runner.ts";
import { bindingBytes, freeAll, loadStack, type Slice, sliceBytes, UNIFORM } from "./resident.ts";
import { lanes } from "./tiling.ts";
import { tune } from "./tuning.ts";

/** Most tokens in one run. */
const CAPACITY = 256;
/** Most bytes of logits for a chunk that wants all of them. */
const LOGIT_BYTES = 64 * 2 ** 20;

/** The GPU backend. */
export async function loadOnGpu(
  device: Device,
  config: ModelConfig,
  options: RunnerOptions,
  readInto: ReadInto,
): Promise<Runner> {
  const gpu = device.gpu!;
  expectFittingCache(gpu, config, options);
  const slices: Slice[] = [];
  const vectors: GPUBuffer[] = [];
  const records = new Map<string, Promise<Program>>();
  const keep = (buffer: GPUBuffer) => (vectors.push(buffer), buffer);
  const vector = async (values: Float32Array) => keep(await upload(gpu, values));
  const close = () => {
    freeAll(slices);
    for (const buffer of vectors) buffer.destroy();
    for (const made of records.values()) made.then(({ recorder }) => recorder.free(), () => {});
  };
  try {
    const weights = await readInto<GpuWeight, GPUBuffer>({
      vector,
      async matrix(sources, bias) {
        const own = await loadStack(device, sources);
        slices.push(...own);
        const rows = sources.reduce((sum, source) => sum + source.rows, 0);
        return { rows, cols: sources[0].cols, slices: own, bias: bias && await vector(bias) };
      },
    });
    const capacity = capacityOf(gpu, config, options);
    if (options.tune) {
      for (const tokens of [1, capacity]) await tune(device, slices, tokens, options.tune);
    }
    const state = await createState(device, config, options, capacity, keep);
    const program = (kind: ProgramKind) => {
      const known = records.get(kind) ?? record(state, weights, kind, capacity);
      records.set(kind, known);
      return known;
    };
    const one = await program("one");
    const known = stats(config, options, weights, slices, one);
    return { ...runs(state, program, keep), capacity, stats: known, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Tokens in one run: as many as there are logits for, if all of them are asked for. */
function capacityOf(gpu: Gpu, config: ModelConfig, { context }: RunnerOptions): number {
  const logitsFit = Math.floor(Math.min(LOGIT_BYTES, bindingBytes(gpu)) / (4 * config.vocab));
  return Math.max(1, Math.min(CAPACITY, context, logitsFit));
}

/** Bytes of the keys of a layer, or of its values. */
function cacheBytes({ kvHeads, headDim }: ModelConfig, context: number, kvF16: boolean): number {
  return context * kvHeads * headDim * (kvF16 ? 2 : 4);
}

/** Before weights are read, which may take minutes. */
function expectFittingCache(gpu: Gpu, config: ModelConfig, options: RunnerOptions): void {
  const { context, kvF16 } = options, most = bindingBytes(gpu);
  const longest = Math.floor(most / cacheBytes(config, 1, kvF16));
  if (context <= longest) return;
  throw new RangeError(
    `Cannot keep keys and values on this GPU, whose bindings have ${most} bytes, as the context ` +
      `must be at most ${longest} tokens: got ${context}`,
  );
}

async function createState(
  device: Device,
  config: ModelConfig,
  { context, kvF16 }: RunnerOptions,
  capacity: number,
  keep: (buffer: GPUBuffer) => GPUBuffer,
): Promise<GpuState & { targets: GPUBuffer }> {
  const gpu = device.gpu!;
  const bytes = cacheBytes(config, context, kvF16);
  const caches = [];
  for (let layer = 0; layer < config.layers; layer++) {
    const keys = keep(await allocate(gpu, bytes));
    caches.push({ keys, values: keep(await allocate(gpu, bytes)) });
  }
  return {
    device,
    config,
    caches,
    kvF16,
    rotations: keep(await upload(gpu, rotationTable(config, context))),
    ids: keep(await allocate(gpu, 4 * capacity)),
    targets: keep(await allocate(gpu, 4 * capacity)),
    step: keep(await allocate(gpu, 16, UNIFORM)),
    unused: keep(await allocate(gpu, 16)),
  };
}

/** One token; a chunk for its last token; a chunk for all of them. */
type ProgramKind = "one" | "last" | "all";

/** A record that can be submitted. */
interface Program {
  readonly recorder: Recorder;
  readonly dispatches: Dispatch[];
  /** [1, vocab] or [capacity, vocab] */
  readonly logits: GPUBuffer;
}

async function record(
  state: GpuState,
  weights: ModelWeights<GpuWeight, GPUBuffer>,
  kind: ProgramKind,
  capacity: number,
): Promise<Program> {
  const recorder = createRecorder(state, kind === "one" ? 1 : capacity);
  const logits = forward(recorder.ops, weights, { last: kind !== "all" });
  const dispatches = await prepareAll(state.device.gpu!, recorder.record);
  return { recorder, dispatches, logits: logits.buffer };
}

type Runs = Pick<Runner, "last" | "top" | "all" | "losses">;

/** The questions, each one submission and one read-back. */
function runs(
  state: GpuState & { targets: GPUBuffer },
  program: (kind: ProgramKind) => Promise<Program>,
  keep: (buffer: GPUBuffer) => GPUBuffer,
): Runs {
  const gpu = state.device.gpu!;
  const vocab = state.config.vocab;
  const pairs = state.config.headDim / 2;
  const set = async (ids: ArrayLike<number>, position: number) => {
    await write(gpu, state.ids, 0, Uint32Array.from(ids));
    await write(gpu, state.step, 0, stepOf(ids.length, position, pairs));
  };
  const lastProgram = (ids: ArrayLike<number>) => program(ids.length === 1 ? "one" : "last");
  const tops = new Map<string, Promise<{ dispatch: Dispatch; best: GPUBuffer }>>();
  const lossRecord = lossOf(state, program, keep);
  return {
    async last(ids, position) {
      const { dispatches, logits } = await lastProgram(ids);
      await set(ids, position);
      await submit(gpu, dispatches);
      return await download(gpu, logits, 4 * vocab);
    },
    async top(ids, position, k) {
      const { dispatches, logits } = await lastProgram(ids);
      const key = `${ids.length === 1} ${k}`;
      if (!tops.has(key)) tops.set(key, topOf(state, keep(empty(gpu, 8 * k)), logits, k));
      const { dispatch, best } = await tops.get(key)!;
      await set(ids, position);
      await submit(gpu, [...dispatches, dispatch]);
      return candidates(await download(gpu, best));
    },
    async all(ids, position) {
      const { dispatches, logits } = await program("all");
      await set(ids, position);
      await submit(gpu, dispatches);
      return await download(gpu, logits, 4 * vocab * ids.length);
    },
    async losses(ids, targets, position) {
      const { dispatches } = await program("all");
      const { dispatch, loss } = await lossRecord();
      await set(ids, position);
      await write(gpu, state.targets, 0, Uint32Array.from(targets));
      await submit(gpu, [...dispatches, dispatch]);
      return await download(gpu, loss, 4 * ids.length);
    },
  };
}

/** The kernel `top` over a program's logits. */
async function topOf(state: GpuState, best: GPUBuffer, logits: GPUBuffer, k: number) {
  const gpu = state.device.gpu!;
  const constants = { VOCAB: state.config.vocab, K: k, WORKGROUP: lanes(state.device) };
  const launch = { constants, buffers: [logits, best], workgroups: 1 };
  const [dispatch] = await prepareAll(gpu, [{ name: "top", launch }]);
  return { dispatch, best };
}

/** The kernel `token_loss` over the logits of a whole chunk, made once. */
function lossOf(
  state: GpuState & { targets: GPUBuffer },
  program: (kind: ProgramKind) => Promise<Program>,
  keep: (buffer: GPUBuffer) => GPUBuffer,
) {
  const gpu = state.device.gpu!;
  const { vocab } = state.config;
  let made: Promise<{ dispatch: Dispatch; loss: GPUBuffer }> | undefined;
  const make = async () => {
    const { logits } = await program("all");
    const tokens = logits.size / (4 * vocab);
    const loss = keep(empty(gpu, 4 * tokens));
    const launch = {
      constants: { VOCAB: vocab, WORKGROUP: lanes(state.device) },
      buffers: [logits, state.targets, loss, state.step],
      workgroups: tokens,
    };
    const [dispatch] = await prepareAll(gpu, [{ name: "token_loss", launch }]);
    return { dispatch, loss };
  };
  return () => made ??= make();
}

/** Pairs of id and logit bits, as the kernel `top` leaves them. */
function candidates(best: Float32Array<ArrayBuffer>): Candidates {
  const words = new Uint32Array(best.buffer);
  return {
    ids: words.filter((_, i) => i % 2 === 0),
    logits: best.filter((_, i) => i % 2 === 1),
  };
}

function stats(
  config: ModelConfig,
  { kvF16 }: RunnerOptions,
  { embedding, head }: ModelWeights<GpuWeight, GPUBuffer>,
  slices: readonly Slice[],
  { dispatches }: Program,
): Runner["stats"] {
  const weightBytes = slices.reduce((sum, slice) => sum + sliceBytes(slice), 0);
  const table = embedding.slices.reduce((sum, slice) => sum + sliceBytes(slice), 0);
  return {
    weightBytes,
    dispatchesPerToken: dispatches.length,
    bytesPerToken: head === embedding ? weightBytes : weightBytes - table,
    cacheBytesPerPosition: config.layers * config.kvHeads * config.headDim * (kvF16 ? 4 : 8),
  };
}
