/**
 * Round to nearest with AFPQ scales: W [rows, cols] -> codes and f16 scales, and back.
 *
 * A group is a run of columns of one row. With hi = max(w, 0), lo = max(-w, 0) over the group and R
 * the grid's reach on a side:
 *
 *   two scales    s_pos = f16(hi / R_pos), s_neg = f16(lo / R_neg)
 *   one scale     s = f16 of the larger extreme over the reach of its side
 *                 each weight goes to the nearest level of its own side, ties to the lower level
 *   intN-sym      s = f16(max(hi, lo) / R), q = clamp(round(w / s), -R, R)
 *   zero-point    s = f16((hi + lo) / (2^N - 1)), z = round(lo / s), q = clamp(round(w / s) + z, 0,
 *                 2^N - 1), w' = (q - z) s; both roundings half to even
 *
 * Codes are chosen against the stored scale, never the one before rounding; stored_scales.ts says
 * what is stored, coded_scales.ts where it is a code.
 *
 * Only + - * / and f16 rounding are used, so every runtime writes the same bytes. This is the
 * paper's method and nothing else, unless `clip` asks for scales that fit (scale_search.ts). No
 * calibration.
 *
 * @module
 */

import { codeScales } from "./coded_scales.ts";
import { f16Bits, F32_MAX, powerOfTwo } from "./float16.ts";
import { type Format, format as formatOf } from "./format.ts";
import {
  codesShape,
  expectGroup,
  type Group,
  groupsPerRow,
  type PackedShape,
  packRow,
  type QuantizedMatrix,
  UNIT,
  unitsPerRow,
  unpackRow,
} from "./pack.ts";
import { scaleFormatOf, scalesShape, storedPair } from "./pack_scales.ts";
import { encoderOf, roundHalfEven } from "./rounding.ts";
import { type ScaleFormat, scaleFormat as scaleFormatNamed } from "./scale_format.ts";
import { clipScales, clipZeroPoints } from "./scale_search.ts";
import { storeScales } from "./stored_scales.ts";

/** What {@linkcode quantize} wants to know beside the weights. */
export interface QuantizeOptions {
  /** Output features. */
  rows: number;
  /** Input features; groups run along them. */
  cols: number;
  /** A format or its name. */
  format: Format | string;
  /** Columns that share scales, 128 unless told. */
  group?: Group;
  /** Name of the tensor, for error messages. */
  name?: string;
  /** How scales are stored, f16 unless told: a storage or its name. */
  scales?: ScaleFormat | string;
  /** Whether scales are those that lose least, not those that reach the extremes. */
  clip?: boolean;
  /** The true factor of a tensor's coded scales, where several tensors are to share it. */
  factor?: number;
}

/**
 * Quantises W [rows, cols], row-major, by rounding to nearest.
 *
 * @throws {TypeError} if `w` does not hold rows x cols numbers
 * @throws {RangeError} if a weight is NaN or infinite, or the group or format is unknown
 *
 * @example Usage
 * ```ts
 * import { dequantize, quantize } from "./quantizer.ts";
 * import assert from "node:assert/strict";
 *
 * const w = Float32Array.of(0.75, -0.375, 0, 0.25);
 * const q = quantize(w, { rows: 1, cols: 4, format: "fp4-asym", group: "row" });
 * assert.deepEqual(dequantize(q), w);
 * ```
 */
export function quantize(w: Float32Array, options: QuantizeOptions): QuantizedMatrix {
  const { rows, cols, group = 128, name = "" } = options;
  const format = typeof options.format === "string" ? formatOf(options.format) : options.format;
  expectGroup(group);
  if (w.length !== rows * cols) {
    throw new TypeError(
      `Cannot quantise "${name}" [${rows}, ${cols}] as W must hold ${
        rows * cols
      } numbers: got ${w.length}`,
    );
  }
  const scales = typeof options.scales === "string"
    ? scaleFormatNamed(options.scales)
    : options.scales;
  const shape = {
    rows,
    cols,
    format,
    group,
    ...(scales && scales.bits < 16 && { scaleFormat: scales }),
  };
  const stored = scalesOf(w, shape, groupExtremes(w, shape, name), options);
  const codes = encode(w, stored.pairs, { ...shape, unit: stored.unit });
  return { ...shape, name, codes, ...stored.facts };
}

/** What {@linkcode quantize} stores of the scales, and the pairs [rows, groups, 2] behind it. */
interface StoredScales {
  readonly facts: Pick<QuantizedMatrix, "scaleExponent" | "underflows" | "scales" | "factor">;
  readonly pairs: Float64Array;
  /** A true scale is one of `pairs` times this. */
  readonly unit: number;
}

function scalesOf(
  w: Float32Array,
  shape: PackedShape,
  extremes: Float64Array,
  { clip = false, factor }: QuantizeOptions,
): StoredScales {
  const pairs = trueScales(extremes, shape.format);
  if (scaleFormatOf(shape).bits < 16) {
    const coded = codeScales(w, shape, pairs, { clip, factor });
    const { scaleExponent, underflows, bytes: scales } = coded;
    const shared = scaleFormatOf(shape).factor === "tensor" ? { factor: coded.factor } : {};
    const facts = { scaleExponent, underflows, scales, ...shared };
    return { facts, pairs: coded.pairs, unit: 1 };
  }
  if (clip) clipScales(w, shape, pairs);
  const { scaleExponent, underflows } = storeScales(pairs);
  const unit = powerOfTwo(-scaleExponent);
  if (shape.format.scaling === "zero-point") {
    if (clip) clipZeroPoints(w, shape, pairs, unit);
    else addZeroPoints(pairs, extremes, unit);
  }
  const scales = scaleBits(pairs, shape);
  return { facts: { scaleExponent, underflows, scales }, pairs, unit };
}

/** Codes of all rows, packed: [rows, words a row]. */
export function encode(
  w: Float32Array,
  scales: Float64Array,
  shape: PackedShape & { unit: number },
): Uint32Array<ArrayBuffer> {
  const { rows, cols, format, group, unit } = shape;
  const [, words] = codesShape(shape);
  const packed = new Uint32Array(rows * words);
  const codes = new Uint8Array(unitsPerRow(cols) * UNIT);
  const encodeGroup = encoderOf(format);
  const width = group === "row" ? cols : group;
  for (let row = 0, pair = 0; row < rows; row++) {
    let zero = format.zeroCode;
    for (let at = 0; at < cols; at += width, pair += 2) {
      const start = row * cols + at;
      const end = start + Math.min(width, cols - at);
      const first = scales[pair] * unit;
      if (format.scaling === "zero-point") zero = scales[pair + 1];
      const second = format.integer
        ? zero
        : format.scaling === "two"
        ? scales[pair + 1] * unit
        : first;
      encodeGroup(w, { start, end, at }, codes, first, second);
    }
    codes.fill(zero, cols);
    packRow(format, codes, packed, row * words);
  }
  return packed;
}

/**
 * W' [rows, cols] of a quantised matrix: level x scale, rounded once to f32. What a rounded scale
 * takes past the largest f32 ends there.
 */
export function dequantize(q: QuantizedMatrix): Float32Array<ArrayBuffer> {
  const { rows, cols, format: { levels } } = q;
  const w = new Float32Array(rows * cols), values = new Float32Array(levels.length);
  const width = q.group === "row" ? cols : q.group;
  for (let row = 0; row < rows; row++) {
    const codes = rowCodes(q, row);
    for (let start = 0, group = 0; start < cols; start += width, group++) {
      const { positive, negative, zero } = groupScales(q, row, group);
      for (let code = 0; code < values.length; code++) {
        const level = levels[code] - zero;
        const value = level * (level < 0 ? negative : positive);
        values[code] = Math.max(-F32_MAX, Math.min(value, F32_MAX));
      }
      const end = Math.min(start + width, cols);
      for (let column = start; column < end; column++) {
        w[row * cols + column] = values[codes[column]];
      }
    }
  }
  return w;
}

/** Codes of one row of W, [cols]. */
export function rowCodes(q: QuantizedMatrix, row: number): Uint8Array<ArrayBuffer> {
  const [, words] = codesShape(q);
  return unpackRow(q.format, q.codes, row * words, q.cols);
}

/** True scales of a group: of levels above and below 0, and the level taken for 0. */
export interface GroupScales {
  positive: number;
  negative: number;
  zero: number;
}

/** Reads the scales of group `group` of row `row`, 2^-scaleExponent undone. */
export function groupScales(q: QuantizedMatrix, row: number, group: number): GroupScales {
  const unit = powerOfTwo(-q.scaleExponent);
  const [first, second] = storedPair(q, row, group);
  return q.format.scaling === "zero-point"
    ? { positive: first * unit, negative: first * unit, zero: second }
    : { positive: first * unit, negative: second * unit, zero: 0 };
}

/** Largest w and -w of each group, at least 0: [rows, groups, 2]. */
export function groupExtremes(
  w: Float32Array,
  { rows, cols, group }: { rows: number; cols: number; group: Group },
  name: string,
): Float64Array {
  const groups = groupsPerRow({ cols, group });
  const width = group === "row" ? cols : group;
  const extremes = new Float64Array(2 * rows * groups);
  for (let row = 0, pair = 0; row < rows; row++) {
    for (let start = 0; start < cols; start += width, pair += 2) {
      const end = row * cols + Math.min(start + width, cols);
      let hi = 0, lo = 0, fault = 0;
      for (let i = row * cols + start; i < end; i++) {
        const weight = w[i];
        if (weight > hi) hi = weight;
        else if (weight < lo) lo = weight;
        fault += weight - weight; // NaN once a weight is NaN or infinite
      }
      if (fault !== 0) refuseWeight(w, cols, name);
      extremes[pair] = hi;
      extremes[pair + 1] = -lo;
    }
  }
  return extremes;
}

/** Names the first weight that is not finite. */
function refuseWeight(w: Float32Array, cols: number, name: string): never {
  const i = w.findIndex((weight) => !Number.isFinite(weight));
  throw new RangeError(
    `Cannot quantise "${name}" [${w.length / cols}, ${cols}] as weights must be finite: got ${
      w[i]
    } at [${Math.floor(i / cols)}, ${i % cols}]`,
  );
}

/** Scales before rounding, [rows, groups, 2]; the second of a pair is 0 unless there are two. */
export function trueScales(extremes: Float64Array, format: Format): Float64Array {
  const scales = new Float64Array(extremes.length);
  const reach = reachOf(format);
  for (let i = 0; i < extremes.length; i += 2) {
    const hi = extremes[i], lo = extremes[i + 1];
    if (format.scaling === "zero-point") {
      scales[i] = (hi + lo) / reach.positive;
    } else if (format.scaling === "one") {
      const side = hi >= lo ? reach.positive || reach.negative : reach.negative || reach.positive;
      scales[i] = Math.max(hi, lo) / side;
    } else {
      scales[i] = reach.positive > 0 ? hi / reach.positive : 0;
      scales[i + 1] = reach.negative > 0 ? lo / reach.negative : 0;
    }
  }
  return scales;
}

/** How far a grid reaches on each side of 0. */
function reachOf({ grid }: Format): { positive: number; negative: number } {
  return { positive: Math.max(grid[grid.length - 1], 0), negative: Math.max(-grid[0], 0) };
}

/** Fills in the second of each pair: round(lo / s), the level that stands for 0. */
export function addZeroPoints(scales: Float64Array, extremes: Float64Array, unit: number): void {
  for (let i = 0; i < scales.length; i += 2) {
    scales[i + 1] = scales[i] === 0 ? 0 : roundHalfEven(extremes[i + 1] / (scales[i] * unit));
  }
}

/** Pairs of stored scales, [rows, groups, 2], as the f16 bits of the layout. */
export function scaleBits(pairs: Float64Array, shape: PackedShape): Uint16Array<ArrayBuffer> {
  const [rows, ...perRow] = scalesShape(shape);
  const stride = perRow.reduce((a, b) => a * b);
  const groups = groupsPerRow(shape);
  const bits = new Uint16Array(rows * stride);
  const step = shape.format.scaling === "one" ? 2 : 1;
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < 2 * groups; i += step) {
      bits[row * stride + i / step] = f16Bits(pairs[row * 2 * groups + i]);
    }
  }
  return bits;
}
