/**
 * A product of one slice of a matrix as kernel launches: linear.ts runs them on the spot, gpu_ops.ts
 * records them.
 *
 * @module
 */

import type { Device } from "./device.ts";
import { powerOfTwo } from "./float16.ts";
import { kernelFor, type KernelName } from "./kernels.ts";
import { type Dispatch, empty, type Gpu, type Launch, prepare } from "./launch.ts";
import { UNIT } from "./pack.ts";
import { bindingBytes, type Slice } from "./resident.ts";
import { lanes, type ProductKind, type Tiling, tilingOf } from "./tiling.ts";

/** A kernel and how it is launched. */
export interface Recorded {
  readonly name: KernelName;
  readonly launch: Launch;
}

/** Compiles what was recorded. */
export function prepareAll(gpu: Gpu, record: readonly Recorded[]): Promise<Dispatch[]> {
  return Promise.all(
    record.map(({ name, launch }) => prepare(gpu, kernelFor(name, gpu.features), launch)),
  );
}

/** Y = X W^T + b for the rows of one slice. */
export interface Product {
  readonly kind: ProductKind;
  readonly slice: Slice;
  /** Tokens in x, for matmul the most there may be. */
  readonly tokens: number;
  /** [tokens, whole units of columns] */
  readonly x: GPUBuffer;
  /** [tokens, outRows] */
  readonly y: GPUBuffer;
  readonly outRows: number;
  /** [outRows] */
  readonly bias: GPUBuffer | null;
  /** Stands where there is no bias. */
  readonly unused: GPUBuffer;
  /** A uniform as `stepOf()` makes it, of how many tokens there are, for matmul. */
  readonly step: GPUBuffer;
  /** Whether y is added to. */
  readonly add?: boolean;
  /** Whether rows are gates and their ups: y = silu(gate) * up, where `gates()` says so. */
  readonly gated?: boolean;
  /** A buffer of that many bytes for a use of its own within the product. */
  room(use: string, bytes: number): GPUBuffer;
}

/**
 * What kernels are told of a step, as a uniform: how many tokens there are, the position of the first,
 * pairs of a head's dimensions, and four, which keeps compilers for CPUs from unrolling loops that count
 * by it: without it those loops run no time at all.
 */
export function stepOf(tokens: number, position = 0, pairs = 0): Uint32Array<ArrayBuffer> {
  return Uint32Array.of(tokens, position, pairs, 4);
}

/** Buffers for products that run one after another: one for each use and size, until `free()`. */
export function createRooms(gpu: Gpu) {
  const made = new Map<string, GPUBuffer>();
  const room = (use: string, bytes: number): GPUBuffer => {
    const name = `${use}, ${bytes} bytes`;
    const buffer = made.get(name) ?? empty(gpu, bytes);
    made.set(name, buffer);
    return buffer;
  };
  return { room, free: () => made.forEach((buffer) => buffer.destroy()) };
}

/** The launches of a product, by the tiling that suits the device or by a given one. */
export function launchesOf(
  device: Device,
  product: Product,
  chosen: Tiling = tilingOf(device, product.kind, product.slice, product.tokens),
): Recorded[] {
  const tiling = wholeUnlessFitting(device, product, chosen);
  const { slice, tokens, outRows } = product;
  const { SPLIT = 1 } = tiling.constants;
  const { before, x, factors } = activationsOf(device, product, tiling);
  const few = "SPAN" in tiling.constants; // by parts/lines, for one token or two
  const bias = product.bias ?? product.unused;
  const y = SPLIT > 1 ? product.room("parts", 4 * SPLIT * tokens * outRows) : product.y;
  const how = { BIAS: product.bias ? 1 : 0, ADD: product.add ? 1 : 0 };
  const where = { FIRST_ROW: slice.firstRow, OUT_ROWS: outRows };
  const main: Recorded = {
    name: tiling.name,
    launch: {
      constants: {
        ...slice.constants,
        ...tiling.constants,
        ...where,
        ...how,
        ...(few && { BATCH: tokens, GATED: product.gated ? 1 : 0 }),
        ...(!few && SPLIT > 1 && { MOST: tokens }),
        ...(byFragments(tiling) && slice.packed && { UP: upOf(slice) }),
      },
      buffers: [...slice.buffers, x, bias, y, ...factors, ...(few ? [] : [product.step])],
      workgroups: SPLIT * Math.ceil(slice.rows / tiling.rows) * Math.ceil(tokens / tiling.tokens),
    },
  };
  if (SPLIT === 1) return [...before, main];
  return [...before, main, joinOf(device, product, { ...where, ...how, SPLIT, BATCH: tokens }, y)];
}

/** A tiling without parts where those could not be multiplied, or would fit no binding. */
function wholeUnlessFitting(
  { gpu }: Device,
  { gated, tokens, outRows }: Product,
  tiling: Tiling,
): Tiling {
  const { SPLIT = 1 } = tiling.constants;
  const most = gpu ? bindingBytes(gpu) : Infinity;
  if (SPLIT === 1 || (!gated && 4 * SPLIT * tokens * outRows <= most)) return tiling;
  return { ...tiling, constants: { ...tiling.constants, SPLIT: 1 } };
}

/** What a kernel takes for x, with the launches that make it. */
interface Activations {
  readonly before: Recorded[];
  readonly x: GPUBuffer;
  /** A factor a token, of kernels that take one. */
  readonly factors: GPUBuffer[];
}

function activationsOf(device: Device, product: Product, tiling: Tiling): Activations {
  if (byFragments(tiling)) return halvesOf(product, 15);
  if (tiling.name === "matvec_fast") return halvesOf(product, targetOf(product.slice));
  if (tiling.name === "matvec_bytes") return bytesOf(device, product);
  return { before: [], x: product.x, factors: [] };
}

/** Whether matrix units multiply. */
function byFragments({ constants }: Tiling): boolean {
  return "SUBGROUPS" in constants;
}

/** The power of two that brings the largest scale of a slice, and weight, just below the top of f16. */
function upOf({ largestScale, reach }: Slice): number {
  return powerOfTwo(14 - Math.floor(Math.log2(largestScale * Math.max(1, reach))));
}

/** The power of two that activations may reach in matvec_fast: 32 products with levels stay below 2^15. */
function targetOf({ reach }: Slice): number {
  return Math.min(15, 9 - Math.ceil(Math.log2(reach)));
}

/** Activations as f16, the largest of a token below 2^TARGET. */
function halvesOf({ slice, tokens, x, room }: Product, TARGET: number): Activations {
  const { COLS } = slice.constants;
  const halves = room("halves", 64 * Math.ceil(COLS / UNIT) * tokens);
  const factors = room("factors", Math.max(16, 4 * tokens));
  const constants = { COLS, BATCH: tokens, TARGET };
  const launch = { constants, buffers: [x, halves, factors], workgroups: tokens };
  return { before: [{ name: "halve_tokens", launch }], x: halves, factors: [factors] };
}

/** Activations as bytes, in the order in which weights of a format become some. */
function bytesOf(device: Device, { slice, tokens, x, room }: Product): Activations {
  const { COLS, DECODE } = slice.constants;
  const units = Math.ceil(COLS / UNIT) * tokens;
  const bytes = room("bytes", 48 * units);
  const IN_ORDER = DECODE === 2 && !slice.byteLevels!.run ? 1 : 0;
  const constants = { COLS, BATCH: tokens, IN_ORDER, WORKGROUP: lanes(device) };
  const workgroups = Math.ceil(units / constants.WORKGROUP);
  const launch = { constants, buffers: [x, bytes], workgroups };
  return { before: [{ name: "byte_tokens", launch }], x: bytes, factors: [] };
}

/** `rows` rows of a slice from `first` on as f32, w [rows, cols]. */
export function dequantiseOf(
  device: Device,
  { constants, buffers }: Slice,
  w: GPUBuffer,
  first: number,
  rows: number,
): Recorded {
  const WORKGROUP = lanes(device);
  const needed = Math.ceil(rows * 2 * Math.ceil(constants.COLS / UNIT) / WORKGROUP);
  return {
    name: "dequantise",
    launch: {
      constants: { ...constants, ROWS: rows, SKIP: first, WORKGROUP },
      buffers: [...buffers, w],
      workgroups: [Math.min(needed, device.software ? 16 : 4096), 1],
    },
  };
}

/** The second pass of a product in parts. */
function joinOf(
  device: Device,
  { slice, tokens, bias, unused, y }: Product,
  constants: Record<string, number>,
  parts: GPUBuffer,
): Recorded {
  const WORKGROUP = lanes(device);
  return {
    name: "join",
    launch: {
      constants: { ...constants, ROWS: slice.rows, WORKGROUP },
      buffers: [parts, bias ?? unused, y],
      workgroups: Math.ceil(slice.rows * tokens / WORKGROUP),
    },
  };
}
