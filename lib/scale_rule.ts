/**
 * The scales of MXFP4 and NVFP4 as their authors round them, without any search: what others' numbers
 * are of. Of a block with largest weight `amax`, levels up to `reach` (6 for E2M1):
 *
 *   mx   OCP Microscaling 1.0: 2^(floor(log2 amax) - floor(log2 reach)), blocks of 32; what lies beyond
 *        the reach saturates
 *   nv   NVIDIA's NVFP4: the E4M3 nearest to amax / reach in units of a factor, halves to even, blocks
 *        of 16; the factor lets the tensor's largest have 448, the largest E4M3
 *
 * They are stored as e8m0 under a factor of 1, and as the e5m3 of the same value: E4M3 with its
 * subnormals is a part of it, and its spare sign bit makes up for the wider exponent. NVIDIA's factor is
 * an f32, here an f16 times a power of two.
 *
 * @module
 */

import { floorLog2, powerOfTwo } from "./float16.ts";
import { roundHalfEven } from "./rounding.ts";
import type { ScaleRule } from "./scale_format.ts";

const E4M3_MAX = 448;
const E4M3_LEAST_EXPONENT = -6;

/** The true factor of a tensor whose largest scale is `most`. */
export function ruledFactor(rule: ScaleRule, most: number): number {
  return rule === "mx" ? 1 : most / E4M3_MAX;
}

/**
 * The scale that a rule stores in place of the one that reaches the largest weight of a block.
 *
 * @example Usage
 * ```ts
 * import { ruledScale } from "./scale_rule.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(ruledScale("mx", 7 / 6, { factor: 1, reach: 6 }), 1);
 * assert.equal(ruledScale("nv", 7 / 6, { factor: 1, reach: 6 }), 1.125);
 * ```
 */
export function ruledScale(
  rule: ScaleRule,
  reaching: number,
  { factor, reach }: { factor: number; reach: number },
): number {
  if (!(reaching > 0)) return 0;
  if (rule === "mx") {
    const largest = reaching * reach * (1 + 2 ** -48); // a power of two may have come out less
    return powerOfTwo(floorLog2(largest) - floorLog2(reach));
  }
  const exponent = Math.max(floorLog2(reaching / factor), E4M3_LEAST_EXPONENT);
  const step = powerOfTwo(exponent - 3);
  return factor * Math.min(roundHalfEven(reaching / factor / step) * step, E4M3_MAX);
}
