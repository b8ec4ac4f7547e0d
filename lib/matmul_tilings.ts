/**
 * How a product with several tokens is cut into tiles, by the kernel that makes them; of each kernel the
 * first way is good without measuring.
 *
 * @module
 */

import type { Device } from "./device.ts";
import { fragmentSide } from "./fragment.ts";
import type { KernelName } from "./kernels.ts";
import type { Slice } from "./resident.ts";

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

/** A tiling in words: its kernel and constants. */
export function labelOf({ name, constants }: Tiling): string {
  return [name, ...Object.entries(constants).map(([key, value]) => `${key}=${value}`)].join(" ");
}

/** Each tiling once. */
export function differing(tilings: readonly Tiling[]): Tiling[] {
  return [...new Map(tilings.map((tiling) => [labelOf(tiling), tiling])).values()];
}

/** The ways to cut up a product of many tokens on a GPU, or on a CPU that has no strips. */
export function matmulTilings(device: Device, slice: Slice, tokens: number): Tiling[] {
  const broadcast = tokens <= 2 * FEW_TOKENS ? broadcastTilings(device, slice, tokens) : [];
  const tiles = tileTilings(device, slice, tokens);
  const few = !device.software && tokens <= FEW_TOKENS;
  const all = few ? [...broadcast, ...tiles] : [...tiles, ...broadcast];
  if (inFragments(device, slice)) {
    const others = few ? broadcast : all.slice(0, 1);
    return [...fragmentTilings(device, slice, tokens), ...others].slice(0, MOST_CANDIDATES);
  }
  return all.slice(0, MOST_CANDIDATES);
}

/** Ways that tuning compares: more take longer than they gain. */
export const MOST_CANDIDATES = 12;

/** Workgroups that leave no core of a CPU waiting for another for long. */
const BUSY_CORES = 16;

/** Tokens from which on 16 at once, a fifth quicker than eight, are worth twice the time to compile. */
const MANY_TOKENS = 32;

/** Sums that a workgroup keeps in strips: four bytes each, of the 16 KiB that every device has. */
const MOST_KEPT = 4096;

/**
 * A lane to a unit of columns, as many tokens as there are up to 16, and so many rows that to take
 * columns of activations is little beside them.
 */
export function stripTilings(device: Device, { rows, packed }: Slice, tokens: number): Tiling[] {
  const wide = device.gpu!.features.has("octets");
  const fitting = [1, 2, 4].find((most) => most >= tokens) ?? (tokens < MANY_TOKENS ? 8 : 16);
  const workgroups = (EACH: number) => Math.ceil(rows / EACH) * Math.ceil(tokens / fitting);
  const usual = [256, 128, 64].find((EACH) => workgroups(EACH) >= BUSY_CORES) ?? 32;
  const of = (TOKENS: number, EACH: number): Tiling => ({
    name: packed ? "matmul_strips" : "dense_matmul_strips",
    rows: EACH,
    tokens: TOKENS,
    constants: { WORKGROUP: wide ? 8 : 4, TOKENS, EACH, ...(!packed && { APART: wide ? 1 : 0 }) },
  });
  const others = [16, 32, 64, 128, 256, 512].filter((EACH) => EACH * fitting <= MOST_KEPT);
  return [
    of(fitting, usual),
    ...others.filter((EACH) => EACH !== usual).map((EACH) => of(fitting, EACH)),
    ...(fitting > 8 ? [of(8, usual), of(8, 2 * usual)] : []),
  ];
}

/**
 * Register tiles: large ones on a GPU, as wide as there are tokens, where few tiles share out the columns.
 * Small ones fit the workgroup memory of every device.
 */
export function tileTilings(device: Device, slice: Slice, tokens: number): Tiling[] {
  const { rows, constants: { COLS } } = slice;
  const singly = waitsForBanks(device, slice);
  const of = (ACROSS: number, WIDE: number): Tiling[] => {
    const tiles = Math.ceil(rows / (4 * ACROSS)) * Math.ceil(tokens / (8 * WIDE));
    const busy = device.software ? 1 : BUSY_TILES[WIDE <= 2 ? "few" : "many"];
    const most = partsOf(tiles, busy, COLS, 256, 8);
    return inParts(most, {
      name: slice.packed ? "matmul" : "dense_matmul",
      rows: 4 * ACROSS,
      tokens: 8 * WIDE,
      constants: { ACROSS, WIDE, ...(singly && { SINGLY: 1 }) },
    });
  };
  const wide = [1, 2, 4, 8].find((most) => 8 * most >= tokens) ?? 8;
  const half = Math.max(1, wide / 2);
  const small = of(8, Math.min(wide, 4)), large = of(16, wide);
  const others = [of(32, wide), of(16, half), of(8, Math.min(half, 2)), of(32, half)];
  const first = device.software || wide <= 2 ? [...small, ...large] : [...large, ...small];
  return [...first, ...others.map(([whole]) => whole)];
}

/** Tokens whose sums a lane keeps beside its weights; of one row it may keep those of twice as many. */
const FEW_TOKENS = 16;

/**
 * A lane to a row of W or to two, so that weights are decoded once for all tokens. Rows alone are too few lanes
 * for a GPU, so that their columns are shared out, among the slices of a workgroup and among workgroups.
 */
function broadcastTilings(device: Device, slice: Slice, tokens: number): Tiling[] {
  const { rows, packed, constants: { COLS } } = slice;
  const singly = waitsForBanks(device, slice);
  const TOKENS = [4, 8, 16].find((most) => most >= tokens) ?? 2 * FEW_TOKENS;
  const of = (TALL: number, SLICES: number, ACROSS: number): Tiling[] => {
    const tiles = Math.ceil(rows / (ACROSS * TALL));
    const most = partsOf(tiles, BUSY_TILES.few, COLS, 128 * SLICES, 8);
    return inParts(most, {
      name: packed ? "matmul_broadcast" : "dense_matmul_broadcast",
      rows: ACROSS * TALL,
      tokens: TOKENS,
      constants: { ACROSS, SLICES, TALL, TOKENS, ...(singly && { SINGLY: 1 }) },
    });
  };
  if (TOKENS > FEW_TOKENS) return of(1, 2, 64);
  return [
    ...of(2, 4, 32),
    of(1, 4, 32)[0],
    of(2, TOKENS < FEW_TOKENS ? 8 : 2, 32)[0],
    of(2, 2, 64)[0],
  ];
}

/** A tiling whose columns are shared out: in `most` parts, or half or one, which spare a small GPU their sum. */
function inParts(most: number, { constants, ...tiling }: Tiling): Tiling[] {
  const parts = [...new Set([most, Math.ceil(most / 2), 1])];
  return parts.map((SPLIT) => ({ ...tiling, constants: { ...constants, SPLIT } }));
}

/** In how many parts, of `least` columns and more, tiles become as many as keep a GPU busy. */
function partsOf(tiles: number, busy: number, cols: number, least: number, most: number): number {
  const possible = [1, 2, 4, 8].filter((parts) =>
    parts <= Math.max(1, Math.min(most, cols / least))
  );
  return possible.find((parts) => parts * tiles >= busy) ?? possible.at(-1)!;
}

/**
 * Whether matrix units serve a product of many tokens: they were asked for, and weights are levels and scales
 * that a power of two brings to f16, or f16 as it is.
 */
export function inFragments({ gpu }: Device, slice: Slice): boolean {
  if (!gpu?.features.has("fragments")) return false;
  const { packed, largestScale, reach, constants } = slice;
  if (!packed) return constants.DTYPE === 1;
  const scaled = largestScale >= 2 ** -60 && largestScale <= 2 ** 60; // far from the ends of f32
  return scaled && reach >= 2 ** -14 && reach <= 2 ** 5;
}

/** Workgroups that keep a large GPU busy; of few tokens each has little to do. */
const BUSY_TILES = { few: 768, many: 256 };

/** As many tokens a tile as there are, so that weights are decoded once; few tiles share out the columns. */
function fragmentTilings(
  { gpu }: Device,
  { rows, packed, constants: { COLS } }: Slice,
  tokens: number,
): Tiling[] {
  const side = fragmentSide(gpu!.features);
  const of = (LANES: number, most: number, AHEAD: number): Tiling => {
    const SUBGROUPS = LANES / gpu!.subgroupSize;
    const TOKENS = Math.min(most, LANES / 2);
    const tiles = Math.ceil(2 * rows / LANES) * Math.ceil(tokens / TOKENS);
    const busy = BUSY_TILES[TOKENS <= 16 ? "few" : "many"];
    const SPLIT = partsOf(tiles, busy, COLS, 512, 4);
    return {
      name: packed ? "matmul_matrix" : "dense_matmul_matrix",
      rows: LANES / 2,
      tokens: TOKENS,
      constants: { LANES, SUBGROUPS, TOKENS, SPLIT, AHEAD },
    };
  };
  const most = Math.min(128, 16 * side ** 2 / gpu!.subgroupSize); // by 2 x 4 fragments a subgroup
  const usual = [16, 32, 64, 128].find((fit) => fit >= Math.min(tokens, most))!;
  return differing([
    ...(usual > 64 ? [of(256, usual, 1)] : []),
    of(128, usual, 2),
    of(256, usual, 1),
    of(128, usual, 1),
    of(256, usual, 2),
    of(256, Math.min(64, most), 1),
    of(128, Math.max(16, usual / 2), 2),
  ]);
}

/**
 * Whether a table of pairs makes lanes wait: NVIDIA's workgroup memory serves one address a bank at a time.
 * Looked up one by one levels take two thirds of the time in matvec there (H100).
 */
export function waitsForBanks({ adapter }: Device, slice: Slice): boolean {
  return looksUp(slice) && /nvidia/i.test(adapter);
}

/** Whether codes become levels by a table. */
export function looksUp({ packed, constants: { DECODE, WHOLE } }: Slice): boolean {
  return packed && DECODE === 2 && !WHOLE;
}
