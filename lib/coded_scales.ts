/**
 * Scales as codes of a small float under a factor (scale_format.ts): of each group the code that is
 * nearest to its true scale, or with a search the one at which its weights lose least.
 *
 * The factor lets the highest code reach the largest scale of its row or tensor. Of a tensor, a search
 * tries on some of the rows whether less does: what cuts the largest off gives the others finer steps.
 * Of a row nothing is gained by that. Where a storage has its rule (scale_rule.ts), that gives both.
 *
 * @module
 */

import { powerOfTwo } from "./float16.ts";
import { eachGroup, gather, type Side, sidesOf } from "./group_sides.ts";
import { nearestCode, searchCode, squaredError } from "./ladder.ts";
import { groupsPerRow, type PackedShape } from "./pack.ts";
import { putFactor, putScaleCode, scaleFormatOf, scalesShape } from "./pack_scales.ts";
import { ruledFactor, ruledScale } from "./scale_rule.ts";
import { type Stored, storeFactor, storeScales } from "./stored_scales.ts";
import { bestZero } from "./zero_point.ts";

/** Scales as codes, and what they stand for. */
export interface CodedScales extends Stored {
  /** [rows, bytes a row] */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of the tensor; 1 where rows have theirs. */
  readonly factor: number;
  /** The true scales that codes stand for, and zero-points: [rows, groups, 2]. */
  readonly pairs: Float64Array;
  /** Squared error that they leave; 0 unless it was asked for. */
  readonly error: number;
}

/** How codes are chosen. */
export interface CodeOptions {
  /** Whether to search. */
  readonly clip: boolean;
  /** The true factor of the tensor, where several are to share it. */
  readonly factor?: number;
  /** Whether the error is wanted. */
  readonly measure?: boolean;
  /** Rows that those of W stand for, where they are a sample. */
  readonly outOf?: number;
}

/** What the highest code reaches, in units of the largest scale: up or down from 1, while it helps. */
const MARGINS = [0.34, 0.4, 0.5, 0.6, 0.72, 0.85, 1, 1.2];

/** Rows that margins are tried on. */
const SAMPLE_ROWS = 12;

/** Codes of the true scales `wanted` [rows, groups, 2] of W. */
export function codeScales(
  w: Float32Array,
  shape: PackedShape,
  wanted: Float64Array,
  options: CodeOptions,
): CodedScales {
  const factors = factorsOf(w, shape, wanted, options), { rule } = scaleFormatOf(shape);
  if (!rule) return withFactors(w, shape, wanted, { ...options, factors });
  const reach = shape.format.grid.reduce((most, level) => Math.max(most, Math.abs(level)), 0);
  const ruled = wanted.map((scale) => ruledScale(rule, scale, { factor: factors[0], reach }));
  return withFactors(w, shape, ruled, { ...options, factors, clip: false });
}

/** True factors before they are stored, of rows, all of them the tensor's where it has one: [rows]. */
export function factorsOf(
  w: Float32Array,
  shape: PackedShape,
  wanted: Float64Array,
  { clip, factor, outOf = shape.rows }: CodeOptions,
): Float64Array {
  if (factor !== undefined) return new Float64Array(shape.rows).fill(factor);
  const format = scaleFormatOf(shape), perRow = 2 * groupsPerRow(shape);
  const top = format.values.findLast(Number.isFinite)!;
  const factors = Float64Array.from({ length: shape.rows }, (_, row) => {
    return largestScale(wanted.subarray(row * perRow, (row + 1) * perRow), shape) / top;
  });
  if (format.factor === "row") return factors;
  const most = factors.reduce((a, b) => Math.max(a, b), 0), widest = factors.indexOf(most);
  if (format.rule) return factors.fill(ruledFactor(format.rule, most * top));
  const margin = clip ? chooseMargin(w, shape, wanted, { most, widest, outOf }) : 1;
  return factors.fill(margin * most);
}

/** Largest scale among pairs; a zero-point is none. */
function largestScale(pairs: Float64Array, { format }: PackedShape): number {
  const step = format.scaling === "two" ? 1 : 2;
  let largest = 0;
  for (let i = 0; i < pairs.length; i += step) if (pairs[i] > largest) largest = pairs[i];
  return largest;
}

/** What rows here and there lose, for all, and the one with the largest scale, for itself. */
function chooseMargin(
  w: Float32Array,
  shape: PackedShape,
  wanted: Float64Array,
  { most, widest, outOf }: { most: number; widest: number; outOf: number },
): number {
  const count = Math.min(SAMPLE_ROWS, shape.rows);
  const some = Array.from({ length: count }, (_, i) => Math.floor((i + 0.5) * shape.rows / count));
  const [common, single] = [some, [widest]].map((rows) => rowsOf(w, shape, wanted, rows));
  return climb(MARGINS, (margin) => {
    const factors = new Float64Array(count).fill(margin * most);
    const errorOf = ({ w, shape, wanted }: typeof common) =>
      withFactors(w, shape, wanted, { factors, clip: true, measure: true }).error;
    return errorOf(common) * outOf / count + errorOf(single);
  });
}

/** Some rows as a matrix of their own. */
function rowsOf(w: Float32Array, shape: PackedShape, wanted: Float64Array, rows: number[]) {
  const { cols } = shape, perRow = 2 * groupsPerRow(shape);
  const weights = new Float32Array(rows.length * cols);
  const scales = new Float64Array(rows.length * perRow);
  for (const [i, row] of rows.entries()) {
    weights.set(w.subarray(row * cols, (row + 1) * cols), i * cols);
    scales.set(wanted.subarray(row * perRow, (row + 1) * perRow), i * perRow);
  }
  return { w: weights, shape: { ...shape, rows: rows.length }, wanted: scales };
}

/** The best of ascending numbers, from 1 on down, or else up, as long as errors fall. */
function climb(numbers: readonly number[], errorAt: (number: number) => number): number {
  const start = numbers.indexOf(1);
  let best = start, least = errorAt(1);
  for (const step of [-1, 1]) {
    for (let i = start + step; i in numbers; i += step) {
      const error = errorAt(numbers[i]);
      if (!(error < least)) break;
      [best, least] = [i, error];
    }
    if (best !== start) break;
  }
  return numbers[best];
}

/** Codes under true factors, [rows]. */
function withFactors(
  w: Float32Array,
  shape: PackedShape,
  wanted: Float64Array,
  { factors, clip, measure = false }: { factors: Float64Array; clip: boolean; measure?: boolean },
): CodedScales {
  const format = scaleFormatOf(shape), [rows, stride] = scalesShape(shape);
  const stored = format.factor === "row" ? factors.slice() : factors.slice(0, 1);
  const { scaleExponent, underflows } = format.factor === "row"
    ? storeScales(stored)
    : storeFactor(stored);
  const unit = powerOfTwo(-scaleExponent);
  const factorAt = (row: number) => stored[format.factor === "row" ? row : 0];
  const bytes = new Uint8Array(rows * stride), pairs = new Float64Array(wanted.length);
  const scales = new Float64Array(format.values.length);
  const sides = sidesOf(shape), choose = chooserOf(shape, { sides, scales, wanted, pairs, clip });
  let pair = 0, error = 0;
  eachGroup(shape, (start, end, row, group) => {
    if (group === 0) {
      for (let code = 0; code < scales.length; code++) {
        scales[code] = factorAt(row) * unit * format.values[code];
      }
      if (format.factor === "row") putFactor(bytes, row * stride, factorAt(row));
    }
    gather(w, start, end, sides);
    const codes = choose(pair), begin = row * stride, each = codes.length;
    for (let i = 0; i < each; i++) {
      putScaleCode(bytes, begin, each * group + i, { format, code: codes[i] });
    }
    if (measure) error += groupError(shape, sides, pairs, pair);
    pair += 2;
  });
  const factor = format.factor === "row" ? 1 : stored[0];
  return { bytes, scaleExponent, underflows, factor, pairs, error };
}

/** A row's scales, and where its groups' weights come from and their scales go. */
export interface Choice {
  readonly sides: readonly Side[];
  /** True scales by code. */
  readonly scales: Float64Array;
  readonly wanted: Float64Array;
  /** Filled in. */
  readonly pairs: Float64Array;
  readonly clip: boolean;
}

/** Gives the codes of the group that was gathered, and puts what they stand for into `pairs`. */
export function chooserOf(
  shape: PackedShape,
  { sides, scales, wanted, pairs, clip }: Choice,
): (pair: number) => readonly number[] {
  const first = scaleFormatOf(shape).values[0] > 0 ? 0 : 1;
  const top = shape.format.grid.length - 1;
  if (shape.format.scaling === "zero-point") {
    return (pair) => {
      const { code, zero } = zeroPointCodes(sides[0], { scales, first, top, clip }, wanted[pair]);
      [pairs[pair], pairs[pair + 1]] = [scales[code], zero];
      return [code, zero];
    };
  }
  const codes = sides.map(() => 0);
  return (pair) => {
    for (let i = 0; i < sides.length; i++) {
      const reaching = wanted[pair + i];
      codes[i] = clip && reaching > 0
        ? searchCode(sides[i].x, sides[i].count, sides[i].ladder, { scales, first, reaching })
        : nearestCode(scales, first, reaching);
      pairs[pair + i] = scales[codes[i]];
    }
    return codes;
  };
}

/** The scale's code and the zero-point: of codes up to a third below the nearest the best. */
function zeroPointCodes(
  { x, count }: Side,
  { scales, first, top, clip }: { scales: Float64Array; first: number; top: number; clip: boolean },
  holding: number,
): { code: number; zero: number } {
  const nearest = nearestCode(scales, first, holding);
  let best = { code: nearest, ...bestZero(x, count, top, scales[nearest]) };
  for (let code = nearest + 1; clip && code >= first; code--) {
    if (code > nearest && !(scales[code] < 2 * holding)) continue;
    if (scales[code] < 0.6 * holding) break;
    const other = bestZero(x, count, top, scales[code]);
    if (other.error < best.error) best = { code, ...other };
  }
  return best;
}

function groupError(
  { format }: PackedShape,
  sides: readonly Side[],
  pairs: Float64Array,
  pair: number,
): number {
  if (format.scaling === "zero-point") {
    const { x, count } = sides[0];
    return bestZero(x, count, format.grid.length - 1, pairs[pair]).error;
  }
  return sides.reduce((sum, { x, count, ladder }, i) => {
    return sum + squaredError(x, count, ladder, pairs[pair + i]);
  }, 0);
}
