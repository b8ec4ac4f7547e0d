/**
 * Where every bit of the scales of a packed matrix lies; pack.ts has the codes of its weights.
 *
 *   f16     [rows, groups, 2] with a pair a group (positive, negative | scale, zero-point), or
 *           [rows, groups] with one, `groups` then rounded up to even so that rows start at whole words
 *   coded   [rows, bytes a row]: where rows have a factor, its f16 first; then the codes of the groups
 *           from the low end of each byte up, of a pair the positive's (or the scale's) first. Rows
 *           with a factor end at an even byte
 *
 * A zero-point takes the bits of a code and stands there as the integer that it is. The factor of a
 * tensor is a number of the matrix, in [1, 2), so that what lies here is codes alone.
 *
 * @module
 */

import { f16Bits, f16Value } from "./float16.ts";
import { codesShape, groupsPerRow, metadataBits } from "./pack.ts";
import type { PackedShape, QuantizedMatrix } from "./pack.ts";
import { F16_SCALES, type ScaleFormat } from "./scale_format.ts";

/** How the scales of a matrix are stored. */
export function scaleFormatOf({ scaleFormat }: PackedShape): ScaleFormat {
  return scaleFormat ?? F16_SCALES;
}

/** Parameters that a group stores: one scale, or two. */
export function scalesPerGroup({ format }: PackedShape): 1 | 2 {
  return format.scaling === "one" ? 1 : 2;
}

/** Shape of the tensor of scales: F16 [rows, groups, 2] or [rows, even groups], or U8 [rows, bytes]. */
export function scalesShape(shape: PackedShape): number[] {
  const groups = groupsPerRow(shape), { bits, factor } = scaleFormatOf(shape);
  if (bits < 16) {
    const bytes = Math.ceil(groups * scalesPerGroup(shape) * bits / 8);
    return [shape.rows, factor === "row" ? 2 + bytes + bytes % 2 : bytes];
  }
  return shape.format.scaling === "one"
    ? [shape.rows, groups + groups % 2]
    : [shape.rows, groups, 2];
}

/** Bytes of an element of that tensor. */
export function scaleBytes(shape: PackedShape): 1 | 2 {
  return scaleFormatOf(shape).bits < 16 ? 1 : 2;
}

/** Bytes of codes and scales together. */
export function packedBytes(shape: PackedShape): number {
  const scales = scalesShape(shape).reduce((a, b) => a * b, scaleBytes(shape));
  return 4 * codesShape(shape).reduce((a, b) => a * b) + scales;
}

/** Bits that a matrix takes in all: codes, scales, a codebook of its own, a factor. */
export function storedBits(shape: PackedShape): number {
  return 8 * packedBytes(shape) + metadataBits(shape);
}

/** Byte at which the codes of a row begin. */
export function codesStart({ factor }: ScaleFormat): 0 | 2 {
  return factor === "row" ? 2 : 0;
}

/** Puts code `index` of a row that begins at byte `start`. */
export function putScaleCode(
  bytes: Uint8Array,
  start: number,
  index: number,
  { format, code }: { format: ScaleFormat; code: number },
): void {
  const at = start + codesStart(format) + (index * format.bits >> 3);
  bytes[at] |= code << (index * format.bits & 7);
}

/** Code `index` of a row that begins at byte `start`. */
export function scaleCode(
  bytes: Uint8Array,
  start: number,
  index: number,
  format: ScaleFormat,
): number {
  const byte = bytes[start + codesStart(format) + (index * format.bits >> 3)];
  return format.bits === 8 ? byte : byte >> (index * 4 & 7) & 15;
}

/** The largest code of a scale in a matrix whose scales are codes; their values ascend with them. */
export function largestCode(q: QuantizedMatrix): number {
  const format = scaleFormatOf(q), stride = q.scales.length / q.rows, each = scalesPerGroup(q);
  const codes = groupsPerRow(q) * each, step = q.format.scaling === "zero-point" ? 2 : 1;
  let most = 0;
  for (let row = 0; row < q.rows; row++) {
    for (let i = 0; i < codes; i += step) {
      most = Math.max(most, scaleCode(q.scales as Uint8Array, row * stride, i, format));
    }
  }
  return most;
}

/** Puts the factor of a row that begins at byte `start`. */
export function putFactor(bytes: Uint8Array, start: number, factor: number): void {
  const bits = f16Bits(factor);
  bytes[start] = bits & 255;
  bytes[start + 1] = bits >> 8;
}

/** The factor of a row as it is stored, 2^-scaleExponent to come. */
export function factorOf(q: QuantizedMatrix, row: number): number {
  if (scaleFormatOf(q).factor === "tensor") return q.factor ?? 1;
  const start = row * q.scales.length / q.rows;
  return f16Value(q.scales[start] | q.scales[start + 1] << 8);
}

/** The two parameters of a group as they are stored, or the one twice. */
export function storedPair(q: QuantizedMatrix, row: number, group: number): [number, number] {
  const format = scaleFormatOf(q), each = scalesPerGroup(q), stride = q.scales.length / q.rows;
  const [first, last] = [each * group, each * group + each - 1];
  if (format.bits === 16) {
    return [f16Value(q.scales[row * stride + first]), f16Value(q.scales[row * stride + last])];
  }
  const factor = factorOf(q, row);
  const codeAt = (index: number) => scaleCode(q.scales as Uint8Array, row * stride, index, format);
  const positive = factor * format.values[codeAt(first)];
  if (q.format.scaling === "zero-point") return [positive, codeAt(last)];
  return [positive, factor * format.values[codeAt(last)]];
}
