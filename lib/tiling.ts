/**
 * Which kernel serves a product on a device, and how it cuts the product up: the one place where
 * the shape of a matrix, the number of tokens and the kind of device meet.
 *
 * @module
 */

import type { Device } from "./device.ts";
import type { KernelName } from "./kernels.ts";
import type { Slice } from "./resident.ts";

/** The two bounds that a product may be held to: see lib/linear_reference.ts. */
export type ProductKind = "matvec" | "matmul";

/** The kernel that serves a product, and what one of its workgroups makes. */
export interface Tiling {
  readonly name: KernelName;
  /** Rows of W that one workgroup serves. */
  readonly rows: number;
  /** Tokens that one workgroup serves. */
  readonly tokens: number;
  /** Constants that the choice fixes, beyond those of the slice. */
  readonly constants: Record<string, number>;
}

/** Lanes of a workgroup: CPUs want about their vector width, GPUs a wave or two. */
const LANES = { software: 16, hardware: 64 };

/** Lanes that a GPU should have at work, so that some compute while others wait for memory. */
const BUSY_LANES = 2 ** 16;

/** How a product of a slice with `tokens` tokens is cut up on this device. */
export function tilingOf(
  device: Device,
  kind: ProductKind,
  slice: Slice,
  _tokens: number,
): Tiling {
  const { packed } = slice;
  if (kind === "matvec") return matvecTiling(slice, matvecShape(device, slice));
  if (!device.software || !device.gpu?.features.has("subgroups")) {
    const name = packed ? "matmul" : "dense_matmul";
    return { name, rows: 32, tokens: 32, constants: {} };
  }
  const WORKGROUP = lanes(device);
  const name = packed ? "matmul_quads" : "dense_matmul_quads";
  return { name, rows: 4 * WORKGROUP, tokens: 16, constants: { WORKGROUP } };
}

/** How kernels/parts/lines shares out rows and columns, and what else matvec leaves open. */
interface MatvecShape {
  readonly workgroup: number;
  /** Lanes along a row. */
  readonly span: number;
  /** Rows of a lane. */
  readonly tall: number;
  /** Workgroups along a row. */
  readonly split: number;
  /** Whether activations go through workgroup memory. */
  readonly staged: boolean;
  /** Copies of the table of levels. */
  readonly copies: number;
}

/** The choice that is good without measuring. */
function matvecShape(device: Device, slice: Slice): MatvecShape {
  if (device.software) {
    return { workgroup: 8, span: 8, tall: 8, split: 1, staged: false, copies: 1 };
  }
  const span = [16, 32, 64].find((span) => slice.rows * span >= 4 * BUSY_LANES) ?? 64;
  const short = slice.rows * span < BUSY_LANES / 4 && slice.constants.COLS >= 8192;
  return { workgroup: 64, span, tall: 4, split: short ? 4 : 1, staged: true, copies: 1 };
}

function matvecTiling({ packed }: Slice, shape: MatvecShape): Tiling {
  const { workgroup, span, tall, split, staged, copies } = shape;
  const common = { WORKGROUP: workgroup, SPAN: span, TALL: tall, SPLIT: split };
  return {
    name: packed ? "matvec" : "dense_matvec",
    rows: tall * workgroup / span,
    tokens: 2,
    constants: packed ? { ...common, STAGED: staged ? 1 : 0, COPIES: copies } : common,
  };
}

/** Lanes of a workgroup on this device. */
export function lanes({ software }: Device): number {
  return software ? LANES.software : LANES.hardware;
}
