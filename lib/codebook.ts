/**
 * The number grids that codes stand for: literal tables, and a generator for small floats.
 *
 *   FP4, FP3   E2M1 and E2M0, no infinities, no NaN; both zeros of the sign-magnitude code are 0
 *   NF4        quantiles of the normal distribution, 7 negative and 8 positive (QLoRA, arXiv
 *              2305.14314; the numbers are those of bitsandbytes, as f32)
 *   NF3        the same rule with 3 negative and 4 positive (AFPQ, arXiv 2311.01792)
 *   INT4, INT3 the integers
 *   SF4        the rule of NF4 with quantiles of Student's t, nu = 5 (arXiv 2405.03103)
 *   AF4        levels for the largest of blocks of 32, 64 or 128 normal numbers (arXiv 2306.06965)
 *   BOF4       least square error of such blocks; BOF4S of blocks divided by their largest with its
 *              sign (arXiv 2505.06653)
 *   LLOYD4     least square error with two scales that are searched for, by group; LLOYD3 the same
 *              for any group, without a zero: that costs at 3 bits a twentieth of the error. At 4 bits
 *              it is a hundredth, and two of three small models lose more without a zero
 *   CUBIC      k + k^3 / 128 for k = -7 .. 8, k + k^3 / 32 for k = -3.5 .. 3.5: at groups of 32 within
 *              0.3 % of the Lloyd books, and no table needed
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

/** Student float, 4 bits: NF4's rule with the t distribution of 5 degrees of freedom. */
export const SF4: readonly number[] = [
  -1.0,
  -0.62778055,
  -0.454735989,
  -0.334330744,
  -0.237434379,
  -0.152898707,
  -0.074982464,
  0.0,
  0.065513073,
  0.132964727,
  0.204661018,
  0.283834703,
  0.375804837,
  0.49107557,
  0.656781146,
  1.0,
];

/** Levels for blocks of 32 normal numbers. */
export const AF4_32: readonly number[] = [
  -1,
  -.72380075,
  -.54068711,
  -.3963985,
  -.2723577,
  -.15956821,
  -.05258802,
  0,
  .04554747,
  .13780891,
  .23375854,
  .33656744,
  .4508456,
  .58437857,
  .75299116,
  1,
];

/** Of 64. */
export const AF4_64: readonly number[] = [
  -1,
  -.69441008,
  -.51243739,
  -.3736951,
  -.25607552,
  -.14982478,
  -.04934812,
  0,
  .04273164,
  .12934483,
  .21961274,
  .31675666,
  .42563882,
  .55496234,
  .72424863,
  1,
];

/** Of 128. */
export const AF4_128: readonly number[] = [
  -1,
  -.66495284,
  -.48589589,
  -.3529405,
  -.24139225,
  -.14109901,
  -.04645526,
  0,
  .04021689,
  .12176897,
  .2068883,
  .29877409,
  .40238482,
  .52697805,
  .69496104,
  1,
];

/** Block-wise optimal float for blocks of 64, by square error. */
export const BOF4: readonly number[] = [
  -1,
  -.7535,
  -.5792,
  -.4386,
  -.3168,
  -.2060,
  -.1015,
  0,
  .0887,
  .1794,
  .2741,
  .3758,
  .4885,
  .6187,
  .7790,
  1,
];

/** The same for blocks divided by their largest number, sign and all. */
export const BOF4S_64: readonly number[] = [
  -.8568463921546936,
  -.6692874431610107,
  -.5235266089439392,
  -.4004882574081421,
  -.2910638153553009,
  -.1900092959403992,
  -.0938529595732689,
  0,
  .0887671709060669,
  .1794802695512772,
  .2743096053600311,
  .3760197460651398,
  .4886530041694641,
  .6188603639602661,
  .7791395783424377,
  1,
];

/** Of 128. */
export const BOF4S_128: readonly number[] = [
  -.83739173412323,
  -.6462452411651611,
  -.5028634667396545,
  -.3836247622966766,
  -.2783779501914978,
  -.1815713942050934,
  -.0896477326750755,
  0,
  .0850915610790253,
  .1720834821462631,
  .2632072865962982,
  .3613293170928955,
  .4707452654838562,
  .5988966822624207,
  .761027991771698,
  1,
];

/** Least square error of normal numbers under two searched scales of 4 bits, groups of 16. */
export const LLOYD4_16: readonly number[] = [
  -1.0,
  -0.8252,
  -0.6299,
  -0.4641,
  -0.3301,
  -0.2101,
  -0.1013,
  0,
  0.086,
  0.1785,
  0.2791,
  0.386,
  0.5049,
  0.6709,
  0.8174,
  1.0,
];

/** Groups of 32. */
export const LLOYD4_32: readonly number[] = [
  -1.0,
  -0.7739,
  -0.6021,
  -0.4553,
  -0.3259,
  -0.2092,
  -0.1019,
  0,
  0.0881,
  0.1802,
  0.2788,
  0.3843,
  0.5,
  0.6294,
  0.7729,
  1.0,
];

/** Groups of 64. */
export const LLOYD4_64: readonly number[] = [
  -1.0,
  -0.7585,
  -0.5828,
  -0.4398,
  -0.3157,
  -0.2039,
  -0.0999,
  0,
  0.0839,
  0.1714,
  0.2656,
  0.367,
  0.4814,
  0.6124,
  0.7738,
  1.0,
];

/** Groups of 128. */
export const LLOYD4_128: readonly number[] = [
  -1.0,
  -0.7495,
  -0.5742,
  -0.4324,
  -0.3097,
  -0.2003,
  -0.0984,
  0,
  0.0845,
  0.1723,
  0.2652,
  0.3651,
  0.4769,
  0.6072,
  0.7708,
  1.0,
];

/** 3 bits, any group: four levels a side and no zero. */
export const LLOYD3: readonly number[] = [-1, -0.606, -0.3337, -0.1068, 0.1068, 0.3337, 0.606, 1];

/**
 * k + k^3 / bend for `count` steps from `first` on: levels that can be computed from the code, and exact
 * in f32.
 *
 * @example Usage
 * ```ts
 * import { cubicLevels } from "./codebook.ts";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(cubicLevels(-1, 4, 8), [-1.125, 0, 1.125, 3]);
 * ```
 */
export function cubicLevels(first: number, count: number, bend: number): number[] {
  return Array.from({ length: count }, (_, code) => {
    const k = first + code;
    return k + k * k * k / bend;
  });
}

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
