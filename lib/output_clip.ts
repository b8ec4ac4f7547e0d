/**
 * Scales by what the layer's output loses, weights rounded to nearest: group by group and side by side
 * that scale is kept which, with all others as they are, leaves the least of
 *
 *   d H d^T    d = w' - w over the whole row, H [cols, cols] the inputs' second moments
 *
 *   1. shrink    what reaches the group's extremes, times 1 down to 1/2 in twelve steps
 *   2. refit     codes fixed, the scale that suits them best
 *
 * and once more around the row, since groups make up for each other. To count each column for itself
 * (weighted_clip.ts) leaves a fifth more. Nothing is taken that loses more than what was there, a
 * zero-point stays, and no storage is added.
 *
 * @module
 */

import {
  columnsOf,
  eachOpenRow,
  levelsAt,
  type OpenRow,
  type Place,
  placesOf,
  putScale,
} from "./open_row.ts";
import type { QuantizedMatrix } from "./pack.ts";
import { groupExtremes, trueScales } from "./quantizer.ts";
import { valueOf } from "./repack.ts";
import { type Encoder, encoderOf } from "./rounding.ts";
import { applyChange, bestMultiple, type Change, changeOfError, noChange } from "./row_descent.ts";
import type { Symmetric } from "./triangular.ts";

const ROUNDS = 2;
const SHRINKS = Array.from({ length: 13 }, (_, i) => 1 - i / 24);
const REFITS = 2;

/**
 * The matrix with scales that lose less of the output of W [rows, cols], and codes nearest by them.
 *
 * @example Usage
 * ```ts
 * import { clipByOutput } from "./output_clip.ts";
 * import { groupScales, quantize } from "./quantizer.ts";
 * import assert from "node:assert/strict";
 *
 * // the input of the large weight is never felt, so the scale may be that of the others
 * const w = Float32Array.of(1, 0.25, 0.25, 1.8);
 * const h = Float64Array.of(1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0);
 * const q = quantize(w, { rows: 1, cols: 4, format: "int3-sym", group: "row" });
 * assert.ok(groupScales(clipByOutput(q, w, h), 0, 0).positive < groupScales(q, 0, 0).positive);
 * ```
 */
export function clipByOutput(q: QuantizedMatrix, w: Float32Array, h: Symmetric): QuantizedMatrix {
  const reaching = trueScales(groupExtremes(w, q, q.name), q.format);
  const perRow = reaching.length / q.rows;
  const trial: Trial = {
    encode: encoderOf(q.format),
    change: noChange(q.cols),
    levels: noChange(q.cols),
    codes: new Uint8Array(q.cols),
  };
  return eachOpenRow(q, w, h, (row, index) => {
    const tops = reaching.subarray(index * perRow, (index + 1) * perRow);
    for (let round = 0, better = true; better && round < ROUNDS; round++) {
      better = false;
      for (const place of placesOf(row)) {
        better = improve(trial, row, place, tops[2 * place.group + place.side]) || better;
      }
    }
  });
}

/** What is tried: codes of the group, what changes by them, and the levels of the scale. */
interface Trial {
  readonly encode: Encoder;
  readonly codes: Uint8Array<ArrayBuffer>;
  readonly change: Change;
  readonly levels: Change;
}

/** Looks for a better scale in one place; whether there was one. */
function improve(trial: Trial, row: OpenRow, place: Place, top: number): boolean {
  const before = row.scales[2 * place.group + place.side];
  let best = before, least = 0, last = before;
  const consider = (scale: number) => {
    if (!(scale > 0) || scale === last) return false;
    last = scale;
    const error = errorAt(trial, row, place, scale);
    if (error < least) [best, least] = [scale, error];
    return best === scale;
  };
  if (top > 0) { for (const shrink of SHRINKS) consider(row.storable(top * shrink)); }
  for (let i = 0; best > 0 && i < REFITS; i++) {
    errorAt(trial, row, place, best);
    levelsAt(row, place, trial.codes, trial.levels);
    const step = bestMultiple(row.state, trial.levels, trial.change);
    if (step === 0 || !consider(row.storable(best + step))) break;
  }
  if (best === before) return false;
  errorAt(trial, row, place, best);
  applyChange(row.state, trial.change);
  const [start, count] = columnsOf(row, place);
  row.codes.set(trial.codes.subarray(0, count), start);
  putScale(row, place, best);
  return true;
}

/** What a scale in one place adds to the error; the trial is then its own. */
function errorAt(trial: Trial, row: OpenRow, place: Place, scale: number): number {
  const { format, w, scales, state } = row, { scaling } = format;
  const [start, count] = columnsOf(row, place), pair = 2 * place.group;
  const first = place.side === 0 ? scale : scales[pair];
  const second = scaling === "one" || place.side === 1 ? scale : scales[pair + 1];
  const other = format.integer && scaling !== "zero-point" ? format.zeroCode : second;
  const { codes, change } = trial;
  trial.encode(w, { start, end: start + count, at: 0 }, codes, first, other);
  change.count = 0;
  for (let i = 0, j = start; i < count; i++, j++) {
    const by = valueOf(format, codes[i], first, second) - w[j] - state.d[j];
    if (by === 0) continue;
    change.columns[change.count] = j;
    change.by[change.count++] = by;
  }
  return changeOfError(state, change);
}
