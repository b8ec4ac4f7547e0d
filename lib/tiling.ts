/**
 * Which kernel serves a product on a device, and how it cuts the product up: the one place where
 * the shape of a matrix, the number of tokens and the kind of device meet.
 *
 * @module
 */

import type { Device } from "./device.ts";
import type { KernelName } from "./kernels.ts";
import {
  differing,
  inFragments,
  labelOf,
  looksUp,
  matmulTilings,
  MOST_CANDIDATES,
  stripTilings,
  tileTilings,
  type Tiling,
  waitsForBanks,
} from "./matmul_tilings.ts";
import { UNIT } from "./pack.ts";
import type { Slice } from "./resident.ts";
import { workgroupBytes } from "./workgroup_memory.ts";

export { labelOf, type Tiling };

/** The two bounds that a product may be held to: see lib/linear_reference.ts. */
export type ProductKind = "matvec" | "matmul";

/** The one that a product of so many tokens is held to. */
export function kindOf(tokens: number): ProductKind {
  return tokens <= 2 ? "matvec" : "matmul";
}

/** Lanes of a workgroup: CPUs want about their vector width, GPUs a wave or two. */
const LANES = { software: 16, hardware: 64 };

/** Lanes that a GPU should have at work, so that some compute while others wait for memory. */
const BUSY_LANES = 2 ** 16;

/** How a product of a slice with `tokens` tokens is cut up: as tuning chose, else the first candidate. */
export function tilingOf(
  device: Device,
  kind: ProductKind,
  slice: Slice,
  tokens: number,
): Tiling {
  const candidates = candidatesOf(device, kind, slice, tokens);
  const chosen = device.gpu?.choices.get(classNamed(candidates[0].name, slice, tokens));
  if (!chosen) return candidates[0];
  const like = (tiling: Tiling) => inOnePart(labelOf(tiling)) === inOnePart(chosen);
  return candidates.find((tiling) => labelOf(tiling) === chosen) ?? candidates.find(like) ??
    candidates[0];
}

/** A label without the number of parts, which follows from the exact shape: others of a class have another. */
function inOnePart(label: string): string {
  return label.replace(/ SPLIT=\d+/, "");
}

/** The ways to cut up a product that tuning compares; the first is good without measuring. */
export function candidatesOf(
  device: Device,
  kind: ProductKind,
  slice: Slice,
  tokens: number,
): Tiling[] {
  const room = device.gpu?.device.limits.maxComputeWorkgroupStorageSize ?? Infinity;
  const fits = (tiling: Tiling) => workgroupBytes(device, tiling, slice, tokens) <= room;
  const fitting = waysOf(device, kind, slice, tokens).filter(fits);
  const all = fitting.length > 0 ? fitting : tileTilings(device, slice, tokens).filter(fits);
  return differing(all);
}

function waysOf(device: Device, kind: ProductKind, slice: Slice, tokens: number): Tiling[] {
  if (inStrips(device, kind, slice, tokens)) return stripTilings(device, slice, tokens);
  if (kind === "matmul") return matmulTilings(device, slice, tokens);
  const { packed } = slice;
  const name = matvecName(device, slice);
  const fast = packed && name !== "matvec";
  const all = device.software ? softwareShapes(packed) : hardwareShapes(device, slice, fast);
  const shapes = all.filter(({ tall }) => tall * tokens <= MOST_SUMS);
  const tilings = shapes.map((shape) => matvecTiling(device, slice, shape, name));
  return differing(tilings).slice(0, MOST_CANDIDATES);
}

/** Whether a product with one token can gate what it makes: strips cannot. */
export function gates(device: Device, slice: Slice): boolean {
  return !inStrips(device, "matvec", slice, 1);
}

/**
 * Whether a CPU whose lanes can hand sums round takes a product in strips. Only of a single token its
 * narrow vectors (SwiftShader) have had enough to do with dense rows.
 */
function inStrips(device: Device, kind: ProductKind, slice: Slice, tokens: number): boolean {
  const features = device.gpu?.features;
  if (!device.software || !features?.has("subgroups")) return false;
  if (kind === "matmul") return !inFragments(device, slice);
  const name = matvecName(device, slice);
  return name === "matvec" || (name === "dense_matvec" && (features.has("octets") || tokens > 1));
}

/**
 * The class of products that share a choice: kernel, format, and rows, columns and tokens to the next
 * power of two. The kernel is that of the first candidate, which tells accuracies apart.
 */
export function classOf(
  device: Device,
  kind: ProductKind,
  slice: Slice,
  tokens: number,
): string {
  return classNamed(candidatesOf(device, kind, slice, tokens)[0].name, slice, tokens);
}

function classNamed(kernel: KernelName, { rows, packed, constants }: Slice, tokens: number) {
  const { COLS, GROUP, BITS, DECODE, SCALING, DTYPE, SCALE_BITS, WHOLE } = constants;
  const scales = SCALE_BITS ? `, ${SCALE_BITS}-bit scales` : "";
  const zeros = WHOLE ? ", whole zero-points" : "";
  const format = packed
    ? `${BITS} ${DECODE} ${SCALING} ${GROUP}${scales}${zeros}`
    : `dense ${DTYPE}`;
  const [r, c, t] = [rows, COLS, tokens].map((n) => 2 ** Math.ceil(Math.log2(n)));
  return `${kernel} ${format}, ${r}x${c}, ${t}`;
}

/** How kernels/parts/lines shares out rows and columns, and what else matvec leaves open. */
interface MatvecShape {
  /** Lines of a workgroup. */
  readonly lines: number;
  /** Lanes of a line, along a row. */
  readonly span: number;
  /** Rows of a lane. */
  readonly tall: number;
  /** Workgroups along a row. */
  readonly split?: number;
  /** Whether activations go through workgroup memory. */
  readonly staged?: boolean;
  /** Copies of the table of levels. */
  readonly copies?: number;
  /** Whether levels are looked up one by one. */
  readonly singly?: boolean;
}

/** Sums that a lane can keep: rows times tokens. */
const MOST_SUMS = 16;

/** A CPU wants lanes as wide as its vectors, and many rows to each load of activations. */
function softwareShapes(packed: boolean): MatvecShape[] {
  const talls = packed ? [16, 8, 4] : [8, 16, 4];
  return [
    ...talls.map((tall) => ({ lines: 1, span: 8, tall })),
    { lines: 1, span: 16, tall: 8 },
    { lines: 2, span: 8, tall: 8 },
    { lines: 2, span: 4, tall: 8 },
    { lines: 1, span: 32, tall: 8 },
  ];
}

/**
 * A GPU wants many lanes: few rows are spread over wide lines, and over several where even so few. In f16
 * activations take half the registers, which leaves room for more rows; dense weights are loaded so fast
 * that two rows do.
 */
function hardwareShapes(device: Device, slice: Slice, fast: boolean): MatvecShape[] {
  const { rows, packed } = slice;
  const span = rows * 32 >= 8 * BUSY_LANES ? 32 : 64;
  const tall = fast ? 8 : 4;
  const table = looksUp(slice) && !fast;
  const singly = table && waitsForBanks(device, slice);
  const staged = true, usual = { staged, singly };
  return [
    packed
      ? { lines: 4, span, tall, split: partsOf(slice, span, tall), ...usual }
      : { lines: 4, span: 64, tall: 2, split: partsOf(slice, 64, 2) },
    { lines: 4, span, tall: 4, ...usual, split: partsOf(slice, span, 4) > 1 ? 1 : 2 },
    { lines: 4, span: 16, tall: 4, ...usual },
    { lines: 4, span: 32, tall: 4, ...usual },
    { lines: 4, span: 64, tall: 4, ...usual },
    { lines: 2, span: 32, tall: 4, ...usual },
    { lines: 4, span: 32, tall: 8, ...usual },
    { lines: 4, span: 64, tall: 2, ...usual },
    { lines: 8, span: 32, tall: 4, ...usual, ...(table && !singly && { copies: 4 }) },
    { lines: 4, span, tall: 4, staged, singly: table && !singly },
    { lines: 8, span: 8, tall: 4 },
    { lines: 4, span: 16, tall: 4 },
    { lines: 1, span: 64, tall: 4 },
  ];
}

/** Steps along the columns that take longer than a second pass. */
const MANY_STEPS = 4;

/** In how many parts the columns of few rows have as many lanes as keep a GPU busy. */
function partsOf({ rows, constants: { COLS } }: Slice, span: number, tall: number): number {
  if (COLS < MANY_STEPS * UNIT * span) return 1;
  const lanes = Math.ceil(rows / tall) * span;
  return [4, 2].find((parts) => parts * lanes <= BUSY_LANES) ?? 1;
}

/** Bytes of activations where they are worth it, else f16, of a device of fast accuracy. */
function matvecName({ gpu }: Device, slice: Slice): KernelName {
  if (!slice.packed) return "dense_matvec";
  if (gpu?.features.has("bytes") && slice.byteLevels) return "matvec_bytes";
  return gpu?.features.has("halves") && fitsHalves(slice) ? "matvec_fast" : "matvec";
}

/** Whether levels are f16 numbers that leave room for activations beside them. */
export function fitsHalves({ reach }: Pick<Slice, "reach">): boolean {
  return reach >= 2 ** -14 && reach <= 2 ** 5;
}

function matvecTiling(
  { gpu }: Device,
  { packed, byteLevels }: Slice,
  shape: MatvecShape,
  name: KernelName,
): Tiling {
  const { lines, span, tall, split = 1, staged = false, copies, singly } = shape;
  const fold = Math.min(span, gpu?.foldSize ?? 1);
  const common = {
    WORKGROUP: lines * span,
    SPAN: span,
    TALL: tall,
    SPLIT: split,
    ...(fold > 1 && { FOLD: fold }),
  };
  return {
    name,
    rows: tall * lines,
    tokens: 2,
    constants: packed
      ? {
        ...common,
        ...(name === "matvec_bytes" && { STEPS: byteLevels!.steps, RUN: byteLevels!.run ? 1 : 0 }),
        STAGED: staged ? 1 : 0,
        ...(copies && name !== "matvec_bytes" && { COPIES: copies }),
        ...(singly && { SINGLY: 1 }),
      }
      : common,
  };
}

/** Lanes of a workgroup on this device. */
export function lanes({ software }: Device): number {
  return software ? LANES.software : LANES.hardware;
}
