/**
 * The number grids that codes stand for: literal tables, and a generator for small floats.
 *
 *   FP4, FP3   E2M1 and E2M0, no infinities, no NaN; both zeros of the sign-magnitude code are 0
 *   NF4        quantiles of the normal distribution, 7 negative and 8 positive (QLoRA, arXiv
 *              2305.14314; the numbers are those of bitsandbytes, as f32)
 *   NF3        the same rule with 3 negative and 4 positive (AFPQ, arXiv 2311.01792)
 *   INT4, INT3 the integers
 *
 * NF levels come from the normal quantile function Q: with p = 1 - (1/(2n-2) + 1/(2n)) / 2 for
 * n = 16 or 8 levels, the positive side is Q at n/2 + 1 even steps from p down to 1/2, the negative
 * side -Q at n/2 steps, all divided by Q(p). `tests/codebook_test.ts` recomputes them.
 *
 * @module
 */

/** E2M1 magnitudes by the code's low three bits, eem. Value (1 + m/2) 2^(e-1), or m/2 where e = 0. */
export const E2M1_MAGNITUDES: readonly number[] = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

/** E2M0 magnitudes by the code's low two bits, ee. Value 2^(e-1), or 0 where e = 0. */
export const E2M0_MAGNITUDES: readonly number[] = [0, 1, 2, 4];

/** Normal float, 4 bits: 7 negative levels, zero, 8 positive. */
export const NF4: readonly number[] = [
  -1,
  -0.6961928009986877,
  -0.5250730514526367,
  -0.39491748809814453,
  -0.28444138169288635,
  -0.18477343022823334,
  -0.09105003625154495,
  0,
  0.07958029955625534,
  0.16093020141124725,
  0.24611230194568634,
  0.33791524171829224,
  0.44070982933044434,
  0.5626170039176941,
  0.7229568362236023,
  1,
];

/** Normal float, 3 bits: 3 negative levels, zero, 4 positive. */
export const NF3: readonly number[] = [
  -1,
  -0.5350227355957031,
  -0.246931403875351,
  0,
  0.1833375245332718,
  0.3819939494132996,
  0.6229856610298157,
  1,
];

/** Symmetric 4-bit integers; -8 is left out so that both sides reach as far. */
export const INT4: readonly number[] = [-7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7];
/** Symmetric 3-bit integers. */
export const INT3: readonly number[] = [-3, -2, -1, 0, 1, 2, 3];
/** Unsigned 4-bit integers, from which a zero-point is subtracted. */
export const UINT4: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/** Unsigned 3-bit integers. */
export const UINT3: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7];

/**
 * Magnitudes of a small float with `e` exponent and `m` mantissa bits, by code, [2^(e + m)].
 *
 * The bias is 2^(e-1) - 1. An exponent of 0 is subnormal: m / 2^M * 2^(1 - bias). No code is spent
 * on infinity or NaN: the largest exponent holds ordinary numbers.
 *
 * @example Usage
 * ```ts
 * import { floatMagnitudes } from "./codebook.ts";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(floatMagnitudes(2, 1), [0, 0.5, 1, 1.5, 2, 3, 4, 6]);
 * assert.deepEqual(floatMagnitudes(3, 0), [0, 0.25, 0.5, 1, 2, 4, 8, 16]);
 * ```
 */
export function floatMagnitudes(e: number, m: number): number[] {
  const steps = 1 << m;
  const bias = (1 << (e - 1)) - 1;
  return Array.from({ length: 1 << (e + m) }, (_, code) => {
    const exponent = code >> m;
    const mantissa = code % steps;
    const significand = exponent === 0 ? mantissa : mantissa + steps;
    const shift = Math.max(exponent, 1) - bias - m; // value = significand * 2^shift
    return shift < 0 ? significand / (1 << -shift) : significand * (1 << shift);
  });
}
