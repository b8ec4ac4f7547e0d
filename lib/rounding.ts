/**
 * Rounding the weights of one group to codes, given its scales. Two rules, one shape of function:
 *
 *   nearest level   among the levels of the weight's own side, ties to the lower one
 *   integer         clamp(round(w / s) + z, 0, top), halves to even
 *
 * Nearest level is exact: a weight is compared with border x scale, where borders are half-way
 * between two levels, and these products (25 + 11 bits) are exact in f64. A table over 256 buckets
 * of w / s tells where to begin, so that about one comparison is left for each weight.
 *
 * @module
 */

import type { Format } from "./format.ts";

/**
 * Rounds `w[start .. end]` to codes, written from `codes[at]` on. `first` is the scale of weights
 * above 0, or the only one; `second` the scale of those below, or the zero-point.
 */
export type Encoder = (
  w: Float32Array,
  range: { start: number; end: number; at: number },
  codes: Uint8Array,
  first: number,
  second: number,
) => void;

/** The rounding rule of a format. */
export function encoderOf(format: Format): Encoder {
  return format.integer ? integerEncoder(format) : nearestEncoder(format);
}

/** Nearest integer, halves to even, of any number below 2^51 in size. */
export function roundHalfEven(value: number): number {
  return value + ROUNDER - ROUNDER;
}

/** 1.5 x 2^52: added to a small f64 it pushes the fraction out of the significand. */
const ROUNDER = 6755399441055744;

function integerEncoder({ grid }: Format): Encoder {
  const top = grid.length - 1;
  return (w, { start, end, at }, codes, scale, zero) => {
    if (scale === 0) return void codes.fill(zero, at, at + end - start);
    for (let i = start; i < end; i++) {
      const q = roundHalfEven(w[i] / scale) + zero;
      codes[at++] = q < 0 ? 0 : q > top ? top : q;
    }
  };
}

/** Buckets over the reach of a grid; a bucket seldom holds more than one border. */
const BUCKETS = 256;

/** Entries of a side's part in tables that both sides share. */
const BORDERS = 16;
const LOWEST = BUCKETS + 1;

/** Both sides of a grid: levels above 0 in the first half of each table, below in the second. */
interface Sides {
  /** Border above each level, in units of the scale; no way up from a side's last. [2, BORDERS] */
  readonly borders: Float64Array;
  /** Lowest level that a weight can have, by bucket of |w| / s. [2, LOWEST] */
  readonly lowest: Uint8Array;
}

function nearestEncoder({ grid, codes: codeOf }: Format): Encoder {
  const reach = Math.max(-grid[0], grid[grid.length - 1]);
  const sides = { ...sidesOf(grid, reach), codeOf, reach };
  return (w, range, codes, above, below) => roundToNearest(w, range, codes, sides, above, below);
}

/** Of the group at hand, by side: its scale, and buckets in a unit of weight. */
const scales = new Float64Array(2);
const bucketsPerUnit = new Float64Array(2);

/** What no closure holds runs three times as fast: its tables are loaded once. */
function roundToNearest(
  w: Float32Array,
  { start, end, at }: { start: number; end: number; at: number },
  codes: Uint8Array,
  { borders, lowest, codeOf, reach }: Sides & { codeOf: Uint8Array; reach: number },
  above: number,
  below: number,
): void {
  scales[0] = above || Infinity;
  scales[1] = below || Infinity;
  bucketsPerUnit[0] = above && BUCKETS / (above * reach);
  bucketsPerUnit[1] = below && -BUCKETS / (below * reach);
  for (let i = start; i < end; i++) {
    const weight = w[i];
    const side = +(weight < 0);
    const bucket = weight * bucketsPerUnit[side];
    let level = lowest[side * LOWEST + (bucket < LOWEST ? bucket | 0 : BUCKETS)];
    if (weight > borders[side * BORDERS + level] * scales[side]) {
      do level++; while (weight > borders[side * BORDERS + level] * scales[side]);
    }
    codes[at++] = codeOf[level];
  }
}

/** Tables of a grid that reaches to +-`reach`. With a scale of 0, weights end at the level next to 0. */
function sidesOf(grid: Float32Array, reach: number): Sides {
  const borders = new Float64Array(2 * BORDERS).fill(Infinity);
  const lowest = new Uint8Array(2 * LOWEST);
  for (const side of [0, 1]) {
    const own = [...grid.keys()].filter((level) => side ? grid[level] <= 0 : grid[level] >= 0);
    const first = own[0] ?? (side ? 0 : grid.length - 1); // a side without levels takes the nearest
    const last = own.at(-1) ?? first;
    for (let level = first; level < last; level++) {
      borders[side * BORDERS + level] = (grid[level] + grid[level + 1]) / 2;
    }
    for (let bucket = 0, level; bucket < LOWEST; bucket++) {
      const edge = side ? -(bucket + 1.01) : bucket - 0.01; // a hair wide, for the rounding of w / s
      for (level = first; borders[side * BORDERS + level] < edge / BUCKETS * reach;) level++;
      lowest[side * LOWEST + bucket] = level;
    }
  }
  return { borders, lowest };
}
