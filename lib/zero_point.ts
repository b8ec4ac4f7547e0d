/**
 * Scale and zero-point of integers together: w' = (q - z) s with q in 0 .. top. The range may give way
 * at either end, so for a scale that is too small to hold all weights several zero-points are tried.
 *
 * @module
 */

import { roundHalfEven } from "./rounding.ts";

/** sum of (x - (q - z) s)^2 over the first `count` of x, q the nearest integer in 0 .. top. */
export function zeroPointError(
  x: Float64Array,
  count: number,
  top: number,
  [scale, zero]: readonly [number, number],
): number {
  const perScale = scale === 0 ? 0 : 1 / scale;
  let error = 0;
  for (let i = 0; i < count; i++) {
    const q = roundHalfEven(x[i] * perScale) + zero;
    const off = x[i] - ((q < 0 ? 0 : q > top ? top : q) - zero) * scale;
    error += off * off;
  }
  return error;
}

/** Zero-points tried at a scale: what lies below 0 held, half of the excess cut off, all of it. */
const CUTS = [0, 0.5, 1];

/** The zero-point at which the first `count` of x lose least, and that error. */
export function bestZero(
  x: Float64Array,
  count: number,
  top: number,
  scale: number,
): { zero: number; error: number } {
  let hi = 0, lo = 0;
  for (let i = 0; i < count; i++) {
    if (x[i] > hi) hi = x[i];
    if (-x[i] > lo) lo = -x[i];
  }
  let best = { zero: 0, error: Infinity };
  if (scale === 0) return { zero: 0, error: zeroPointError(x, count, top, [0, 0]) };
  const excess = Math.max(0, (hi + lo) / scale - top);
  for (const cut of CUTS) {
    const zero = Math.max(0, Math.min(roundHalfEven(lo / scale - cut * excess), top));
    const error = zeroPointError(x, count, top, [scale, zero]);
    if (error < best.error) best = { zero, error };
  }
  return best;
}

/** Scales tried, in units of the one that holds all weights. */
const SHARES = [1, 0.62, 0.68, 0.74, 0.8, 0.85, 0.9, 0.95, 1.04];

/** The scale at which the first `count` of x lose least, near the one that holds them all. */
export function searchZeroScale(
  x: Float64Array,
  count: number,
  top: number,
  holding: number,
): number {
  let best = holding, least = Infinity;
  for (const share of SHARES) {
    const { error } = bestZero(x, count, top, holding * share);
    if (error < least) [best, least] = [holding * share, error];
  }
  return best;
}
