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

/** How a product of a slice with `tokens` tokens is cut up on this device. */
export function tilingOf(
  device: Device,
  kind: ProductKind,
  { packed }: Slice,
  tokens: number,
): Tiling {
  const WORKGROUP = lanes(device);
  if (kind === "matvec") {
    const name = packed ? "matvec" : "dense_matvec";
    return { name, rows: 4, tokens: 2, constants: { WORKGROUP } };
  }
  if (!device.software || !device.gpu?.features.has("subgroups")) {
    const name = packed ? "matmul" : "dense_matmul";
    return { name, rows: 32, tokens: 32, constants: {} };
  }
  return quadsOf(device, packed, tokens);
}

/**
 * Eight rows a lane, and no more tokens than pay: wide vectors (lavapipe, which has f16) do best with
 * eight and pick levels out of a table, narrow ones (SwiftShader) with 16 and look them up.
 */
function quadsOf(device: Device, packed: boolean, tokens: number): Tiling {
  const WORKGROUP = lanes(device);
  const wide = device.gpu!.features.has("shader-f16");
  const TOKENS = tokens <= 4 ? 4 : tokens <= 8 || wide ? 8 : 16;
  return {
    name: packed ? "matmul_quads" : "dense_matmul_quads",
    rows: 8 * WORKGROUP,
    tokens: TOKENS,
    constants: { WORKGROUP, TOKENS, ...(packed && { SELECT: wide ? 1 : 0 }) },
  };
}

/** Lanes of a workgroup on this device. */
export function lanes({ software }: Device): number {
  return software ? LANES.software : LANES.hardware;
}
