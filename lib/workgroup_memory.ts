/**
 * Bytes of workgroup memory that the kernels of products declare, by how a product is cut up. A device
 * has 16 KiB at least, most have 32 KiB and more, and compiles nothing that wants more than it has.
 *
 * @module
 */

import type { Device } from "./device.ts";
import { fragmentSide } from "./fragment.ts";
import type { KernelName } from "./kernels.ts";
import { looksUp, type Tiling } from "./matmul_tilings.ts";
import type { Slice } from "./resident.ts";

/** Fours of a staged unit of activations: f32, f16 or bytes, padded. */
const STAGED_FOURS: Partial<Record<KernelName, number>> = {
  matvec: 9,
  matvec_fast: 5,
  matvec_bytes: 3,
};

/** Bytes of a padded row of a tile: nine fours of f32, or of pairs of f16. */
const TILE_ROW = 9 * 16;

/** What an array takes that a kernel has no use for. */
const LEAST = 16;

/** Both tables in kernels/parts/byte_table, for pairs of codes of 4 bits: other formats take no more. */
const BYTE_TABLES = 4 * 2 * 256;

/** Workgroup memory of a product of up to `tokens` tokens. */
export function workgroupBytes(
  { gpu }: Device,
  tiling: Tiling,
  slice: Slice,
  tokens: number,
): number {
  const { SUBGROUPS, LANES, TOKENS } = tiling.constants;
  if (!SUBGROUPS) return tableBytes(tiling, slice) + tileBytes(tiling, slice, tokens);
  const sums = 4 * fragmentSide(gpu!.features) ** 2 * SUBGROUPS;
  return tableBytes(tiling, slice) + TILE_ROW * (LANES / 2 + TOKENS) + sums;
}

/** Of the table of levels: pairs of f32 or f16, single levels, or bytes. */
function tableBytes({ name, constants: { COPIES = 1, SINGLY } }: Tiling, slice: Slice): number {
  if (!slice.packed) return 0;
  if (name === "matvec_bytes") return BYTE_TABLES;
  if (!looksUp(slice)) return 2 * LEAST;
  if (SINGLY) return 4 * 16 + LEAST;
  const pairs = COPIES * 2 ** (2 * slice.constants.BITS);
  return (name === "matvec_fast" || name === "matmul_matrix" ? 4 : 8) * pairs + LEAST;
}

/** Of everything else but fragments: activations, weights of a step, sums. */
function tileBytes({ name, constants }: Tiling, slice: Slice, tokens: number): number {
  const { SPAN, WORKGROUP, TALL, FOLD = 1, STAGED, TOKENS, SLICES, ACROSS, WIDE, EACH } = constants;
  if (SPAN) { // parts lines and columns
    const sums = 4 * tokens * TALL * (WORKGROUP / FOLD + WORKGROUP / SPAN);
    const stage = STAGED ? 16 * STAGED_FOURS[name]! * SPAN * tokens : LEAST;
    return sums + (slice.packed ? stage : 0);
  }
  if (SLICES) return 16 * SLICES * TOKENS * Math.max(8, ACROSS / 4); // broadcast
  if (EACH) return 4 * TOKENS * EACH; // strips
  return TILE_ROW * (4 * ACROSS + 8 * WIDE); // tile
}
