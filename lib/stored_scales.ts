/**
 * True scales and factors made what a file holds: f16 numbers under a power of two.
 *
 * f16 ends at 65504 and its subnormals are not safe on GPUs, so where a number would leave
 * [2^-14, 65504] all of the tensor's are stored times 2^scaleExponent, the largest then in
 * [2^14, 2^15); what still underflows is stored as 0 and counted. The factor of a whole tensor is
 * stored in [1, 2).
 *
 * @module
 */

import { F16_MAX, F16_MIN_NORMAL, f16Bits, f16Value, floorLog2, powerOfTwo } from "./float16.ts";

/** What storing came to: the power of two, and how many numbers became 0. */
export interface Stored {
  readonly scaleExponent: number;
  readonly underflows: number;
}

/** Rounds numbers of at least 0 in place to the f16 that are stored, by an exponent if one is told. */
export function storeScales(
  scales: Float64Array,
  scaleExponent: number = commonExponent(scales),
): Stored {
  const unit = powerOfTwo(scaleExponent);
  let underflows = 0;
  for (let i = 0; i < scales.length; i++) {
    const stored = f16Value(f16Bits(scales[i] * unit));
    const kept = stored >= F16_MIN_NORMAL ? stored : 0;
    if (scales[i] > 0 && kept === 0) underflows++;
    scales[i] = kept;
  }
  return { scaleExponent, underflows };
}

/** Rounds the one factor of a tensor in place, to an f16 from 1 to 2, or 0. */
export function storeFactor(factor: Float64Array): Stored {
  if (factor[0] === 0) return { scaleExponent: 0, underflows: 0 };
  const scaleExponent = -floorLog2(factor[0]);
  factor[0] = f16Value(f16Bits(factor[0] * powerOfTwo(scaleExponent)));
  return { scaleExponent, underflows: 0 };
}

/** The power of two that scales are stored times: 0 if all that are not 0 are normal f16. */
export function commonExponent(scales: Float64Array): number {
  let largest = 0, smallest = Infinity;
  for (const scale of scales) {
    if (scale > largest) largest = scale;
    if (scale > 0 && scale < smallest) smallest = scale;
  }
  if (largest === 0 || (largest <= F16_MAX && smallest >= F16_MIN_NORMAL)) return 0;
  return 14 - floorLog2(largest);
}
