/**
 * A packed matrix taken apart into numbers that can be changed, and put together again in the storage
 * that it has: codes of weights, and true scales, which are then those that the storage can hold.
 *
 *   codes   [rows, cols]        as they are stored
 *   scales  [rows, groups, 2]   above and below 0, equal where there is one | scale, zero-point
 *
 * f16 scales keep their tensor's exponent, coded ones the factor of their row or tensor.
 *
 * @module
 */

import { F16_MAX, F16_MIN_NORMAL, f16Bits, f16Value, powerOfTwo } from "./float16.ts";
import type { Format } from "./format.ts";
import { packRows } from "./group_rounding.ts";
import { nearestCode } from "./ladder.ts";
import { groupsPerRow, type QuantizedMatrix } from "./pack.ts";
import {
  codesStart,
  factorOf,
  putScaleCode,
  scaleFormatOf,
  scalesPerGroup,
} from "./pack_scales.ts";
import { groupScales, rowCodes, scaleBits } from "./quantizer.ts";

/** What a packed matrix says, in the open. */
export interface OpenMatrix {
  /** [rows, cols] */
  readonly codes: Uint8Array;
  /** [rows, groups, 2] */
  readonly scales: Float64Array;
}

/** Takes a matrix apart. */
export function openMatrix(q: QuantizedMatrix): OpenMatrix {
  const { rows, cols } = q, groups = groupsPerRow(q);
  const codes = new Uint8Array(rows * cols), scales = new Float64Array(2 * rows * groups);
  const zeroPoint = q.format.scaling === "zero-point";
  for (let row = 0, pair = 0; row < rows; row++) {
    codes.set(rowCodes(q, row), row * cols);
    for (let group = 0; group < groups; group++, pair += 2) {
      const { positive, negative, zero } = groupScales(q, row, group);
      scales[pair] = positive;
      scales[pair + 1] = zeroPoint ? zero : negative;
    }
  }
  return { codes, scales };
}

/** Puts a matrix together in the storage of q, its scales as `storableScales` gives them. */
export function repack(q: QuantizedMatrix, { codes, scales }: OpenMatrix): QuantizedMatrix {
  const packed = packRows(codes, scales, q);
  if (scaleFormatOf(q).bits < 16) return { ...q, codes: packed, scales: scaleCodes(q, scales) };
  const unit = powerOfTwo(q.scaleExponent), kept = q.format.scaling === "zero-point" ? 2 : 1;
  const stored = scales.map((scale, i) => i % kept === 0 ? scale * unit : scale);
  return { ...q, codes: packed, scales: scaleBits(stored, q) };
}

/** What a code stands for, by the pair of its group. */
export function valueOf(
  { levels, scaling }: Format,
  code: number,
  first: number,
  second: number,
): number {
  if (scaling === "zero-point") return (levels[code] - second) * first;
  return levels[code] * (levels[code] < 0 ? second : first);
}

/** The storable scale nearest to one that is wanted, by row. */
export function storableScales(q: QuantizedMatrix): (row: number, wanted: number) => number {
  if (scaleFormatOf(q).bits === 16) {
    const unit = powerOfTwo(q.scaleExponent);
    return (_, wanted) => {
      const bits = f16Bits(Math.max(F16_MIN_NORMAL, Math.min(wanted * unit, F16_MAX)));
      return f16Value(bits) / unit;
    };
  }
  let last = -1, own = new Float64Array();
  return (row, wanted) => {
    if (row !== last) [last, own] = [row, rowScales(q, row)];
    return own[nearestCode(own, firstScale(own), wanted)];
  };
}

/** True scales of a row by code, ascending, of a matrix whose scales are coded: [2^bits]. */
export function rowScales(q: QuantizedMatrix, row: number): Float64Array<ArrayBuffer> {
  const factor = factorOf(q, row), unit = powerOfTwo(-q.scaleExponent);
  return scaleFormatOf(q).values.map((value) => factor * unit * value);
}

/** A code of 0 is no scale in e8m0. */
function firstScale(scales: Float64Array): number {
  return scales[0] > 0 ? 0 : 1;
}

/** Bytes of coded scales, with the factors that were there. */
function scaleCodes(q: QuantizedMatrix, scales: Float64Array): Uint8Array<ArrayBuffer> {
  const format = scaleFormatOf(q), each = scalesPerGroup(q), groups = groupsPerRow(q);
  const bytes = new Uint8Array(q.scales.length), stride = bytes.length / q.rows;
  for (let row = 0; row < q.rows; row++) {
    const start = row * stride, own = rowScales(q, row);
    const factor = q.scales.subarray(start, start + codesStart(format));
    bytes.set(factor, start);
    for (let index = 0; index < each * groups; index++) {
      const at = 2 * (row * groups + Math.floor(index / each)) + index % each;
      const isZero = q.format.scaling === "zero-point" && index % 2 === 1;
      const code = isZero ? scales[at] : nearestCode(own, firstScale(own), scales[at]);
      putScaleCode(bytes, start, index, { format, code });
    }
  }
  return bytes;
}
