/**
 * The squared error of a few weights at a scale, and the scale that makes it least: what clipping
 * searches by.
 *
 *   e(s) = sum over x of min over levels L of (x - L s)^2
 *
 * e has many minima, so a search tries a row of scales, from half of what reaches the largest weight
 * to nearly half as much again, and then alternates: levels by the scale, and by the levels the scale
 * sum(x L) / sum(L^2). Levels are found by a table of buckets; a weight next to a border may take
 * the level on its other side, which is as near as makes no difference to a search. Scales are
 * compared by a coarser table yet, of (x / s - L)^2 itself, which is off by a hundredth for a weight
 * and much less for a group. Codes are not taken from here: rounding.ts is exact.
 *
 * Only + - * / are used, in one order, so every runtime finds the same scale.
 *
 * @module
 */

/** Ascending levels with a table that finds them. */
export interface Ladder {
  /** Lowest level, 0 unless one is lower. */
  readonly low: number;
  /** Buckets in a unit of levels. */
  readonly perUnit: number;
  /** Nearest level by bucket, [BUCKETS]. */
  readonly nearest: Float64Array;
  /** (u - nearest level)^2 for u from -2 (0 where no level is below 0) to 2 times the reach, [ROUGH]. */
  readonly squares: Float32Array;
  /** Buckets of `squares` in a unit of levels, and the place of 0. */
  readonly squaresPerUnit: number;
  readonly squaresZero: number;
}

const BUCKETS = 1024;
const ROUGH = 2048;

/** A ladder of ascending levels. */
export function ladderOf(levels: ArrayLike<number>): Ladder {
  const low = Math.min(0, levels[0]), high = levels[levels.length - 1];
  const perUnit = (BUCKETS - 1) / (high - low || 1);
  let level = 0;
  const nearest = Float64Array.from({ length: BUCKETS }, (_, bucket) => {
    const middle = low + (bucket + 0.5) / perUnit;
    while (level + 1 < levels.length && middle > (levels[level] + levels[level + 1]) / 2) level++;
    return levels[level];
  });
  return { low, perUnit, nearest, ...roughLadder(levels) };
}

function roughLadder(levels: ArrayLike<number>) {
  const reach = Math.max(-levels[0], levels[levels.length - 1]) || 1;
  const start = levels[0] < 0 ? -2 * reach : 0, perUnit = ROUGH / (2 * reach - start);
  let level = 0;
  const squares = Float32Array.from({ length: ROUGH }, (_, bucket) => {
    const middle = start + (bucket + 0.5) / perUnit;
    while (level + 1 < levels.length && middle > (levels[level] + levels[level + 1]) / 2) level++;
    return (middle - levels[level]) ** 2;
  });
  return { squares, squaresPerUnit: perUnit, squaresZero: -start * perUnit };
}

/** sum of (x - L s)^2 over the first `count` of x, L the level of the ladder nearest to x / s. */
export function squaredError(
  x: Float64Array,
  count: number,
  { low, perUnit, nearest }: Ladder,
  scale: number,
): number {
  const toBuckets = scale === 0 ? 0 : perUnit / scale;
  const zero = -low * perUnit;
  let even = 0, odd = 0, i = 0; // two sums, since each would wait for its last
  for (; i + 1 < count; i += 2) {
    const place = x[i] * toBuckets + zero, next = x[i + 1] * toBuckets + zero;
    const bucket = place > 0 ? place < BUCKETS ? place | 0 : BUCKETS - 1 : 0;
    const following = next > 0 ? next < BUCKETS ? next | 0 : BUCKETS - 1 : 0;
    const off = x[i] - nearest[bucket] * scale, far = x[i + 1] - nearest[following] * scale;
    even += off * off;
    odd += far * far;
  }
  if (i < count) {
    const place = x[i] * toBuckets + zero;
    const off = x[i] - nearest[place > 0 ? place < BUCKETS ? place | 0 : BUCKETS - 1 : 0] * scale;
    even += off * off;
  }
  return even + odd;
}

/** About that error, for a scale above half of the one that reaches the largest of x. */
function roughError(
  x: Float64Array,
  count: number,
  { squares, squaresPerUnit, squaresZero: zero }: Ladder,
  scale: number,
): number {
  const toBuckets = squaresPerUnit / scale;
  let even = 0, odd = 0, i = 0;
  for (; i + 1 < count; i += 2) {
    even += squares[x[i] * toBuckets + zero | 0];
    odd += squares[x[i + 1] * toBuckets + zero | 0];
  }
  if (i < count) even += squares[x[i] * toBuckets + zero | 0];
  return (even + odd) * scale * scale;
}

/** Scales tried first, in units of the one that reaches the largest weight. */
const SHARES = [1, 0.55, 0.65, 0.75, 0.85, 0.92, 1.08, 1.18, 1.3, 1.42];

/** How often scale and levels are fitted to each other. */
const ROUNDS = 2;

/**
 * The scale at which the first `count` of x lose least, near the one that reaches the largest.
 *
 * @example Usage
 * ```ts
 * import { ladderOf, searchScale } from "./ladder.ts";
 * import assert from "node:assert/strict";
 *
 * const x = Float64Array.of(0.5, 0.25, 0.25); // 1 and 1/2 of the ladder fit, times 0.5
 * assert.equal(searchScale(x, 3, ladderOf([0, 0.5, 1]), 0.6), 0.5);
 * ```
 */
export function searchScale(
  x: Float64Array,
  count: number,
  ladder: Ladder,
  reaching: number,
): number {
  let best = reaching, least = roughError(x, count, ladder, best);
  for (let i = 1; i < SHARES.length; i++) {
    const scale = reaching * SHARES[i];
    const error = roughError(x, count, ladder, scale);
    if (error < least) {
      best = scale;
      least = error;
    }
  }
  least = squaredError(x, count, ladder, best);
  for (let round = 0; round < ROUNDS; round++) {
    const scale = fittedScale(x, count, ladder, best);
    const error = squaredError(x, count, ladder, scale);
    if (!(error < least)) break;
    [best, least] = [scale, error];
  }
  return best;
}

/** sum(x L) / sum(L^2) with the levels that `scale` gives. */
function fittedScale(
  x: Float64Array,
  count: number,
  { low, perUnit, nearest }: Ladder,
  scale: number,
): number {
  const toBuckets = perUnit / scale, zero = -low * perUnit;
  let products = 0, squares = 0;
  for (let i = 0; i < count; i++) {
    const place = x[i] * toBuckets + zero;
    const level = nearest[place > 0 ? place < BUCKETS ? place | 0 : BUCKETS - 1 : 0];
    products += x[i] * level;
    squares += level * level;
  }
  return products > 0 ? products / squares : scale;
}

/** Codes are tried whose scale is within these shares of the one that reaches the largest weight. */
const LEAST_SHARE = 0.75;
const MOST_SHARE = 1.6;

/** A code that is this near to the wanted scale, as a share of it, is taken: others gain too little. */
const FINE = 1 / 32;

/** The code, among ascending scales from `first` on, at which the first `count` of x lose least. */
export function searchCode(
  x: Float64Array,
  count: number,
  ladder: Ladder,
  { scales, first, reaching }: { scales: Float64Array; first: number; reaching: number },
): number {
  if (scales.length > 16) { // too many to try them all
    const wanted = searchScale(x, count, ladder, reaching);
    const near = nearestCode(scales, first, wanted);
    if (Math.abs(scales[near] - wanted) <= FINE * wanted) return near;
    const far = scales[near] < wanted ? near + 1 : Math.max(near - 1, first);
    const codes = [nearestCode(scales, first, reaching), near, far];
    return leastCode(x, count, ladder, { scales, codes });
  }
  const middle = nearestCode(scales, first, reaching);
  const low = LEAST_SHARE * reaching, high = MOST_SHARE * reaching;
  if (!(scales[middle] >= low)) return middle; // none reaches further
  let code = middle, least = Infinity, from = middle;
  while (from > first && scales[from - 1] >= low) from--;
  for (let i = from; scales[i] <= high || i === middle; i++) {
    const error = roughError(x, count, ladder, scales[i]);
    if (error < least) {
      code = i;
      least = error;
    }
  }
  return code;
}

/** The first of these codes at which x loses least. */
function leastCode(
  x: Float64Array,
  count: number,
  ladder: Ladder,
  { scales, codes }: { scales: Float64Array; codes: readonly number[] },
): number {
  const errors = codes.map((code) => squaredError(x, count, ladder, scales[code]));
  return codes[errors.reduce((best, error, i) => error < errors[best] ? i : best, 0)];
}

/** The place of the nearest of ascending numbers from `first` on, the lower of two. */
export function nearestCode(scales: Float64Array, first: number, wanted: number): number {
  let low = first, high = scales.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (wanted > (scales[middle] + scales[middle + 1]) / 2) low = middle + 1;
    else high = middle;
  }
  return low;
}
