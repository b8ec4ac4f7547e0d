/**
 * The operations of a network on the GPU: each records a dispatch, nothing runs until the record is
 * submitted, and then as often as wanted. What differs from run to run (how many tokens, at which
 * position, which ids) lies in two small buffers, so a token costs one write and one submission.
 *
 * A recorder is for up to `capacity` tokens: one takes the matvec kernels, with the gates of the MLP
 * fused in, more take matmul; residual sums are fused into both. Activations are [capacity, stride], a row padded
 * with zeros to whole units of 32 so that kernels may read it by fours.
 *
 * @module
 */

import type { Device } from "./device.ts";
import type { KernelName } from "./kernels.ts";
import { empty, type Gpu, type Launch } from "./launch.ts";
import type { ModelConfig } from "./model_config.ts";
import type { Ops } from "./ops.ts";
import { UNIT, unitsPerRow } from "./pack.ts";
import { launchesOf, type Recorded } from "./product.ts";
import { bindingBytes, type Slice } from "./resident.ts";
import { gates, lanes } from "./tiling.ts";

/** Workgroups of widen_cache: enough for the cores of a CPU, few where there is little to do. */
const WIDENING_WORKGROUPS = 64;

/** Dimensions of a head that attention_quads holds in its lanes. */
const MOST_QUADS_DIM = 256;

/** A matrix [rows, cols] in slices, with its bias, [rows]. */
export interface GpuWeight {
  readonly rows: number;
  readonly cols: number;
  readonly slices: readonly Slice[];
  readonly bias: GPUBuffer | null;
}

/** What the operations know beside their arguments. */
export interface GpuState {
  readonly device: Device;
  readonly config: ModelConfig;
  /** Keys and values of each layer, as kernels/rotate.wgsl lays them out. */
  readonly caches: readonly { keys: GPUBuffer; values: GPUBuffer }[];
  readonly kvF16: boolean;
  /** [context, rotaryDim / 2] as vec2f */
  readonly rotations: GPUBuffer;
  /** Tokens to run, [capacity]. */
  readonly ids: GPUBuffer;
  /** A uniform as `stepOf()` makes it: how many, the position of the first, and headDim / 2. */
  readonly step: GPUBuffer;
  /** Stands where a kernel has a binding that is not used. */
  readonly unused: GPUBuffer;
}

/** Activations [capacity, width], rows `stride` apart, or [1, width] of the last token alone. */
export interface Activations {
  readonly buffer: GPUBuffer;
  readonly width: number;
  readonly stride: number;
  readonly last?: boolean;
}

/** Operations that record, and the record. */
export interface Recorder {
  readonly ops: Ops<Activations, GpuWeight, GPUBuffer>;
  readonly record: readonly Recorded[];
  /** Adds a dispatch that is no operation of a network, such as a loss. */
  add(name: KernelName, launch: Launch): void;
  /** A buffer of [tokens, stride] numbers for a use; the same use gets the same buffer again. */
  scratch(use: string, width: number, options?: { stride?: number; tokens?: number }): Activations;
  /** Frees the activations. */
  free(): void;
}

/** Begins a record for runs of up to `capacity` tokens. */
export function createRecorder(state: GpuState, capacity: number): Recorder {
  const gpu = state.device.gpu!;
  const record: Recorded[] = [];
  const buffers = new Map<string, Activations>();
  const add = (name: KernelName, launch: Launch) => void record.push({ name, launch });
  const scratch: Recorder["scratch"] = (use, width, options = {}) => {
    const known = buffers.get(use);
    if (known) return known;
    const { stride = UNIT * unitsPerRow(width), tokens = capacity } = options;
    const made = { buffer: empty(gpu, 4 * tokens * stride), width, stride };
    buffers.set(use, made);
    return made;
  };
  const context = { ...state, capacity, gpu, lanes: lanes(state.device), add, scratch };
  const free = () => buffers.forEach(({ buffer }) => buffer.destroy());
  return { ops: operations(context), record, add, scratch, free };
}

interface Context extends GpuState, Pick<Recorder, "add" | "scratch"> {
  readonly capacity: number;
  readonly gpu: Gpu;
  readonly lanes: number;
}

function operations(context: Context): Recorder["ops"] {
  const { config, add, scratch, capacity } = context;
  const { dim, hidden } = config;
  return {
    embed(table) {
      const x = scratch("residual", dim);
      for (const slice of table.slices) recordEmbed(context, slice, x);
      return x;
    },
    norm(x, gain, { last } = { last: false }) {
      const y = last ? scratch("last", x.width, { tokens: 1 }) : scratch("normed", x.width);
      add("rms_norm", {
        constants: {
          COLS: x.width,
          STRIDE: x.stride,
          EPSILON: config.normEpsilon,
          LAST: last ? 1 : 0,
          WORKGROUP: context.lanes,
        },
        buffers: [x.buffer, gain, y.buffer, context.step],
        workgroups: last ? 1 : capacity,
      });
      return { ...y, last };
    },
    linear(w, x) {
      const use = `${x.last ? "last " : ""}${w.rows} rows`;
      const y = scratch(use, w.rows, { stride: w.rows, tokens: x.last ? 1 : capacity });
      recordProduct(context, w, x, y, {});
      return y;
    },
    addLinear(w, x, into) {
      recordProduct(context, w, x, into, { add: true });
    },
    gatedLinear(w, x) {
      const y = scratch("gated", hidden);
      if (
        capacity === 1 && w.slices.length === 1 && !w.bias && gates(context.device, w.slices[0])
      ) {
        recordProduct(context, w, x, y, { gated: true });
        return y;
      }
      const both = scratch("gates and ups", 2 * hidden, { stride: 2 * hidden });
      recordProduct(context, w, x, both, {});
      add("silu_mul", {
        constants: {
          COLS: hidden,
          STRIDE: both.stride,
          OUT_STRIDE: y.stride,
          WORKGROUP: context.lanes,
        },
        buffers: [both.buffer, y.buffer, context.step],
        workgroups: Math.ceil(capacity * hidden / context.lanes),
      });
      return y;
    },
    rotate: (qkv, layer, gains) => recordRotate(context, qkv, layer, gains),
    attention: (qkv, layer) => recordAttention(context, qkv, layer),
  };
}

function recordEmbed(context: Context, slice: Slice, x: Activations): void {
  const { add, capacity, lanes, ids, step } = context;
  const columns = slice.packed ? 2 * unitsPerRow(x.width) : Math.ceil(x.width / 8);
  add(slice.packed ? "embed_packed" : "embed", {
    constants: {
      ...slice.constants,
      FIRST_ROW: slice.firstRow,
      OUT_STRIDE: x.stride,
      WORKGROUP: lanes,
    },
    buffers: [...slice.buffers, ids, x.buffer, step],
    workgroups: Math.ceil(capacity * columns / lanes),
  });
}

/** A product with each slice of a matrix: of one token by matvec, of more by matmul. */
function recordProduct(
  context: Context,
  w: GpuWeight,
  x: Activations,
  y: Activations,
  options: { add?: boolean; gated?: boolean },
): void {
  const { add, capacity, device, scratch, step, unused } = context;
  const one = capacity === 1 || x.last === true;
  for (const slice of w.slices) {
    const launches = launchesOf(device, {
      kind: one ? "matvec" : "matmul",
      slice,
      tokens: one ? 1 : capacity,
      x: x.buffer,
      y: y.buffer,
      outRows: y.stride,
      bias: w.bias,
      unused,
      step,
      room: (use, bytes) => scratch(`${use}, ${bytes} bytes`, bytes / 4, { tokens: 1 }).buffer,
      ...options,
    });
    for (const { name, launch } of launches) add(name, launch);
  }
}

function recordRotate(
  context: Context,
  qkv: Activations,
  layer: number,
  gains: { q: GPUBuffer; k: GPUBuffer } | null,
): void {
  const { add, capacity, caches, config, lanes, rotations, step, unused } = context;
  const { heads, kvHeads, headDim, rope, normEpsilon } = config;
  const { keys, values } = caches[layer];
  add("rotate", {
    constants: {
      STRIDE: qkv.stride,
      HEADS: heads,
      KV_HEADS: kvHeads,
      HEAD_DIM: headDim,
      ROTARY: rope.rotaryDim,
      QK_NORM: gains ? 1 : 0,
      EPSILON: normEpsilon,
      KV_F16: context.kvF16 ? 1 : 0,
      WORKGROUP: lanes,
    },
    buffers: [qkv.buffer, gains?.q ?? unused, gains?.k ?? unused, rotations, keys, values, step],
    workgroups: capacity * (heads + 2 * kvHeads),
  });
}

function recordAttention(context: Context, qkv: Activations, layer: number): Activations {
  const { add, capacity, caches, config, device, lanes, scratch, step } = context;
  const { heads, kvHeads, headDim, slidingWindow } = config;
  const { keys, values } = caches[layer];
  const y = scratch("attended", heads * headDim);
  const cache = { KV_HEADS: kvHeads, HEAD_DIM: headDim, WINDOW: slidingWindow ?? 0 };
  const shape = { ...cache, STRIDE: qkv.stride, OUT_STRIDE: y.stride, HEADS: heads };
  const common = { WORKGROUP: lanes };
  const KV_F16 = context.kvF16 ? 1 : 0;
  const buffers = [qkv.buffer, keys, values, y.buffer, step];
  if (capacity === 1) {
    add("attention", { constants: { ...shape, ...common, KV_F16 }, buffers, workgroups: heads });
    return y;
  }
  const wide = wideCache(context, keys);
  if (wide) {
    add("widen_cache", {
      constants: { ...cache, ...common, KV_F16 },
      buffers: [keys, values, ...wide, step],
      workgroups: WIDENING_WORKGROUPS,
    });
    add("attention_quads", {
      constants: { ...shape, ...common },
      buffers: [qkv.buffer, ...wide, y.buffer, step],
      workgroups: Math.ceil(capacity / lanes) * heads,
    });
    return y;
  }
  const SHARES = sharesOf(headDim, device);
  add("attention_tile", {
    constants: { ...shape, ...common, KV_F16, SHARES, UNROLL: device.software ? 0 : 1 },
    buffers,
    workgroups: Math.ceil(capacity / Math.floor(lanes / SHARES)) * heads,
  });
  return y;
}

/**
 * Room for a layer's keys and values as f32, for devices that are a CPU and have quads; null where
 * prompts go through attention_tile instead.
 */
function wideCache(context: Context, keys: GPUBuffer): [GPUBuffer, GPUBuffer] | null {
  const { config: { kvHeads, headDim }, device, gpu, kvF16, scratch } = context;
  const row = 4 * Math.ceil(headDim / 4) * kvHeads;
  const tokens = keys.size / (kvHeads * headDim * (kvF16 ? 2 : 4));
  const fits = headDim <= MOST_QUADS_DIM && 4 * tokens * row <= bindingBytes(gpu);
  if (!device.software || !gpu.features.has("subgroups") || !fits) return null;
  const room = (use: string) => scratch(use, row, { stride: row, tokens }).buffer;
  return [room("wide keys"), room("wide values")];
}

/** Lanes of a query: on a CPU as few as can hold it, on a GPU so many that each keeps 16 dimensions. */
function sharesOf(headDim: number, { software }: Device): number {
  const most = software ? 128 : 16;
  return 2 ** Math.max(0, Math.ceil(Math.log2(headDim / most)));
}
