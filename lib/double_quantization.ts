/**
 * Double quantisation (QLoRA, arXiv 2305.14314): the scales of groups, which are f16, take 8 bits each.
 *
 *   scale' = mean + step q     q in -127 .. 127, step = max |scale - mean| / 127
 *
 * in runs of 256 scales, each with its mean and step in f32. The result is a matrix as any other,
 * whose f16 scales are numbers that such a code can stand for; how many bits it would take is told
 * beside it. A scale of 0 stays 0: its side has no weights. Zero-points are whole numbers and stay.
 * Scales that are codes already (scale_format.ts) stay what they are.
 *
 * @module
 */

import { F16_MIN_NORMAL, f16Bits, f16Value } from "./float16.ts";
import type { QuantizedMatrix } from "./pack.ts";
import { scaleFormatOf, storedBits } from "./pack_scales.ts";
import { roundHalfEven } from "./rounding.ts";

/** Scales that share mean and step. */
const RUN = 256;

/** A matrix with scales of 8 bits, and the bits a weight that these and its codes come to. */
export function doubleQuantized(
  q: QuantizedMatrix,
): { matrix: QuantizedMatrix; bitsPerWeight: number } {
  if (scaleFormatOf(q).bits < 16) {
    return { matrix: q, bitsPerWeight: storedBits(q) / (q.rows * q.cols) };
  }
  const values = Float64Array.from(q.scales, f16Value);
  const isScale = (i: number) => q.format.scaling !== "zero-point" || i % 2 === 0;
  for (let first = 0; first < values.length; first += RUN) {
    const run = values.subarray(first, first + RUN);
    roundRun(run, (i) => run[i] > 0 && isScale(first + i));
  }
  const bits = 8 * q.codes.byteLength + 8 * values.length + 64 * Math.ceil(values.length / RUN);
  return {
    matrix: { ...q, scales: Uint16Array.from(values, f16Bits) },
    bitsPerWeight: bits / (q.rows * q.cols),
  };
}

function roundRun(run: Float64Array, counts: (i: number) => boolean): void {
  const own = [...run.keys()].filter(counts);
  if (own.length === 0) return;
  const mean = Math.fround(own.reduce((sum, i) => sum + run[i], 0) / own.length);
  const most = own.reduce((most, i) => Math.max(most, Math.abs(run[i] - mean)), 0);
  const step = Math.fround(most / 127);
  for (const i of own) {
    const code = step === 0
      ? 0
      : Math.max(-127, Math.min(roundHalfEven((run[i] - mean) / step), 127));
    run[i] = Math.max(mean + step * code, F16_MIN_NORMAL);
  }
}
