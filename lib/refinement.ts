/**
 * What GPTQ leaves, made less by going over it again: one number of a row at a time, the others as they
 * are, takes the value at which the output of W loses least (coordinate descent).
 *
 *   minimise   d H d^T, d = w' - w, H's diagonal times 1.2      r = H d
 *   scale      codes fixed, s + the best multiple of its levels, as near as it can be stored
 *   code       column j wants w'_j - r_j / H_jj, and takes the level nearest to that
 *
 * GPTQ visits a column once, and knows nothing then of how later ones will be rounded; here each does.
 * Only what loses less is taken. What columns do together a text tells less surely than what each does
 * alone, hence the 1.2: it costs 1 % on the text and saves 1 to 2 % on others, with 24 windows. With a
 * diagonal H every code is nearest already and stays.
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
import { valueOf } from "./repack.ts";
import {
  applyChange,
  bestMultiple,
  type Change,
  changeOfError,
  moveColumn,
  noChange,
} from "./row_descent.ts";
import type { Symmetric } from "./triangular.ts";

/** Times around a row; the fifth would gain a hundredth. */
const ROUNDS = 4;

/** A code must be nearer by this share to be taken. */
const NEARER = 1 - 2 ** -20;

/** How {@linkcode refine} goes. */
export interface RefinementOptions {
  /** Added to H's diagonal, as a share of it; 0.2 unless told. */
  readonly damping?: number;
  /** Whether scales change as well; they do unless told. */
  readonly scales?: boolean;
}

/**
 * The matrix with codes and scales that lose less of the output of W [rows, cols].
 *
 * @example Usage
 * ```ts
 * import { dequantize, quantize } from "./quantizer.ts";
 * import { refine } from "./refinement.ts";
 * import assert from "node:assert/strict";
 *
 * // two inputs that are always equal: 0.4 and 0.4 round to 0 and 0, but 0 and 1 are nearer together
 * const w = Float32Array.of(0.4, 0.4, 1), h = Float64Array.of(1, 1, 0, 1, 1, 0, 0, 0, 1);
 * const q = quantize(w, { rows: 1, cols: 3, format: "custom:-1,0,1-sym", group: "row" });
 * assert.deepEqual(dequantize(q), Float32Array.of(0, 0, 1));
 * assert.deepEqual(dequantize(refine(q, w, h, { scales: false })), Float32Array.of(1, 0, 1));
 * ```
 */
export function refine(
  q: QuantizedMatrix,
  w: Float32Array,
  h: Symmetric,
  { damping = 0.2, scales = true }: RefinementOptions = {},
): QuantizedMatrix {
  const levels = noChange(q.cols);
  return eachOpenRow(q, w, damped(h, q.cols, damping), (row) => {
    for (let round = 0, better = true; better && round < ROUNDS; round++) {
      better = false;
      for (const place of scales ? placesOf(row) : []) better = refit(row, place, levels) || better;
      for (let j = 0; j < q.cols; j++) better = recode(row, j) || better;
    }
  });
}

function damped(h: Symmetric, cols: number, share: number): Float64Array {
  const own = Float64Array.from(h);
  for (let j = 0; j < cols; j++) own[j * cols + j] *= 1 + share;
  return own;
}

/** Gives codes of a group the scale that suits them; whether that is another. */
function refit(row: OpenRow, place: Place, v: Change): boolean {
  const [start, count] = columnsOf(row, place), at = 2 * place.group + place.side;
  levelsAt(row, place, row.codes.subarray(start, start + count), v);
  const multiple = bestMultiple(row.state, v);
  const scale = row.storable(row.scales[at] + multiple);
  const step = scale - row.scales[at];
  if (multiple === 0 || step === 0 || !(scale > 0)) return false;
  for (let i = 0; i < v.count; i++) v.by[i] *= step;
  if (changeOfError(row.state, v) >= 0) return false;
  applyChange(row.state, v);
  putScale(row, place, scale);
  return true;
}

/** Gives column j the level that it wants; whether that is another. */
function recode({ format, width, codes, scales, state }: OpenRow, j: number): boolean {
  const pair = 2 * Math.floor(j / width), own = state.h[j * state.cols + j];
  if (!(own > 0)) return false;
  const value = valueOf(format, codes[j], scales[pair], scales[pair + 1]);
  const wanted = value - state.r[j] / own;
  let best = codes[j], taken = value, distance = NEARER * Math.abs(value - wanted);
  for (const code of format.codes) {
    const other = valueOf(format, code, scales[pair], scales[pair + 1]);
    if (Math.abs(other - wanted) < distance) {
      [best, taken, distance] = [code, other, Math.abs(other - wanted)];
    }
  }
  if (best === codes[j]) return false;
  codes[j] = best;
  moveColumn(state, j, taken - value);
  return true;
}
