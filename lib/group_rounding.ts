/**
 * The quantiser in two halves, for methods that choose codes themselves: what scales a group gets, and
 * how codes and scales become a packed matrix. Between the two GPTQ puts its error feedback.
 *
 *   fitGroups    W [rows, cols] -> stored scales [rows, groups, 2] and the tensor's exponent
 *   roundingOf   one weight and its group's scales -> its code, and what the code stands for
 *   packCodes    codes [rows, cols] and stored scales -> QuantizedMatrix
 *
 * `fitGroups`, then `roundingOf` for every weight, then `packCodes` is `quantize()` bit for bit.
 * Scales are those that reach a group's extremes, or with `importance` those that lose least
 * (weighted_clip.ts). Stored scales are f16 numbers, the true ones times 2^exponent; the exponent
 * belongs to the tensor and is fixed before the first group, so a group that grows later may end at
 * the largest f16.
 *
 * @module
 */

import { F16_MAX, powerOfTwo } from "./float16.ts";
import type { Format } from "./format.ts";
import {
  codesShape,
  groupsPerRow,
  type PackedShape,
  packRow,
  type QuantizedMatrix,
  UNIT,
  unitsPerRow,
} from "./pack.ts";
import { addZeroPoints, groupExtremes, scaleBits, trueScales } from "./quantizer.ts";
import { encoderOf } from "./rounding.ts";
import { commonExponent, storeScales } from "./stored_scales.ts";
import { clipperOf } from "./weighted_clip.ts";

/** Scales of groups as they are stored. */
export interface StoredScales {
  /** f16 numbers, [rows, groups, 2]: positive, negative | scale, zero-point | scale, 0. */
  readonly pairs: Float64Array;
  readonly scaleExponent: number;
  /** Scales that were not 0 and became 0. */
  readonly underflows: number;
}

/** Options of {@linkcode fitGroups}. */
export interface FitOptions {
  readonly name?: string;
  /** The tensor's exponent; what these scales want unless told. */
  readonly scaleExponent?: number;
  /** How much the squared error of each column counts, [cols]; scales reach the extremes without. */
  readonly importance?: ArrayLike<number> | null;
}

/** Scales for the groups of W [rows, cols]. */
export function fitGroups(
  w: Float32Array,
  shape: PackedShape,
  { name = "", scaleExponent, importance }: FitOptions = {},
): StoredScales {
  const extremes = groupExtremes(w, shape, name);
  const pairs = trueScales(extremes, shape.format);
  const exponent = scaleExponent ?? commonExponent(pairs);
  if (importance) clip(w, pairs, extremes, shape, importance);
  const most = F16_MAX * powerOfTwo(-exponent);
  for (let i = 0; i < pairs.length; i++) pairs[i] = Math.min(pairs[i], most);
  const { underflows } = storeScales(pairs, exponent);
  if (shape.format.scaling === "zero-point") addZeroPoints(pairs, extremes, powerOfTwo(-exponent));
  return { pairs, scaleExponent: exponent, underflows };
}

/** Replaces scales by those that lose least; extremes shrink with the scales of zero-points. */
function clip(
  w: Float32Array,
  pairs: Float64Array,
  extremes: Float64Array,
  shape: PackedShape,
  importance: ArrayLike<number>,
): void {
  const { rows, cols, format, group } = shape;
  const width = group === "row" ? cols : group;
  const clipped = clipperOf(format);
  for (let row = 0, pair = 0; row < rows; row++) {
    for (let at = 0; at < cols; at += width, pair += 2) {
      const start = row * cols + at;
      const end = start + Math.min(width, cols - at);
      const own = Array.prototype.slice.call(importance, at, at + width);
      const scale = pairs[pair];
      if (format.scaling === "zero-point") {
        if (scale === 0) continue;
        const zero = Math.round(extremes[pair + 1] / scale);
        [pairs[pair]] = clipped({ w, start, end, importance: own }, scale, zero);
        extremes[pair + 1] = zero * pairs[pair];
      } else {
        const second = format.scaling === "two" ? pairs[pair + 1] : scale;
        const [a, b] = clipped({ w, start, end, importance: own }, scale, second);
        pairs[pair] = a;
        if (format.scaling === "two") pairs[pair + 1] = b;
      }
    }
  }
}

/** What a weight became. */
export interface Rounded {
  code: number;
  /** level x scale, exact. */
  value: number;
  /** Whether the weight lay beyond what its group can hold. */
  saturated: boolean;
}

/** How far beyond its group's reach a weight counts as saturated: a scale's own rounding is not. */
const BEYOND = 1 + 2 ** -10;

/**
 * Rounds one weight by the stored scales of its group. The result is only good until the next call.
 */
export function roundingOf(
  format: Format,
  scaleExponent: number,
): (weight: number, pairs: Float64Array, pair: number) => Rounded {
  const { levels, grid, scaling } = format;
  const encode = encoderOf(format);
  const unit = powerOfTwo(-scaleExponent);
  const weights = new Float32Array(1), codes = new Uint8Array(1);
  const range = { start: 0, end: 1, at: 0 };
  const rounded = { code: 0, value: 0, saturated: false };
  return (weight, pairs, pair) => {
    const first = pairs[pair] * unit;
    const zero = scaling === "zero-point" ? pairs[pair + 1] : 0;
    const below = scaling === "two" ? pairs[pair + 1] * unit : first;
    weights[0] = weight;
    const integerZero = scaling === "zero-point" ? zero : format.zeroCode;
    encode(weights, range, codes, first, format.integer ? integerZero : below);
    const level = levels[codes[0]] - zero;
    rounded.code = codes[0];
    rounded.value = level * (level < 0 ? below : first);
    const top = (grid[grid.length - 1] - zero) * first, bottom = (grid[0] - zero) * below;
    const half = format.integer ? first / 2 : 0; // what rounding to an integer leaves anyway
    rounded.saturated = weight > top * BEYOND + half || weight < bottom * BEYOND - half;
    return rounded;
  };
}

/** A matrix from codes [rows, cols] and stored scales. */
export function packCodes(
  codes: Uint8Array,
  { pairs, scaleExponent, underflows }: StoredScales,
  shape: PackedShape,
  name: string,
): QuantizedMatrix {
  const scales = scaleBits(pairs, shape);
  return {
    ...shape,
    name,
    scaleExponent,
    underflows,
    codes: packRows(codes, pairs, shape),
    scales,
  };
}

/** Codes [rows, cols] packed: [rows, words a row]. */
export function packRows(
  codes: Uint8Array,
  pairs: Float64Array,
  shape: PackedShape,
): Uint32Array<ArrayBuffer> {
  const { rows, cols, format } = shape;
  const [, words] = codesShape(shape);
  const packed = new Uint32Array(rows * words);
  const row = new Uint8Array(unitsPerRow(cols) * UNIT);
  const groups = groupsPerRow(shape);
  for (let r = 0; r < rows; r++) {
    row.set(codes.subarray(r * cols, (r + 1) * cols));
    const lastPair = 2 * (r * groups + groups - 1);
    row.fill(format.scaling === "zero-point" ? pairs[lastPair + 1] : format.zeroCode, cols);
    packRow(format, row, packed, r * words);
  }
  return packed;
}
