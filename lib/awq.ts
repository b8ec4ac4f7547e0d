/**
 * AWQ (arXiv 2306.00978): inputs that are felt most get their weights made larger before rounding, and
 * themselves smaller, so that those weights lose less.
 *
 *   s_j = m_j^r / sqrt(max s min s)    m_j = root mean square of input j, at least 1e-4
 *   r   in 0, 1/20 ... 19/20           that whose error of the output is least:
 *                                      sum over rows of d H d^T, d = Q(w s) / s - w
 *
 * r = 0 is plain rounding, so the search never does worse. The error of the output is that over all
 * calibration tokens and all linears that share the inputs (q, k and v; gate and up), by their
 * second moments H, of 64 rows of each matrix: more of them find the same. Where scales go is
 * folding.ts's business; clipping comes after, by output_clip.ts, each side of zero for itself where a
 * format has two scales.
 *
 * The published code takes mean |x| for m; H has the root mean square at hand. Powers are products
 * of square roots, r rounded to 1/1024: all runtimes find the same scales.
 *
 * @module
 */

import type { Format } from "./format.ts";
import { rowEnergies } from "./layer_error.ts";
import type { Group } from "./pack.ts";
import { dequantize, quantize } from "./quantizer.ts";
import type { Symmetric } from "./triangular.ts";

/** Matrices W [rows, cols] that share their inputs, and how they are to be quantised. */
export interface AwqOptions {
  readonly cols: number;
  readonly format: Format | string;
  readonly group?: Group;
  /** Magnitudes to raise, [cols]; those of H unless told. */
  readonly magnitudes?: Float64Array;
}

/** Scales of inputs, and how much of the output's error they leave. */
export interface AwqScales {
  /** [cols] */
  readonly scales: Float64Array;
  readonly ratio: number;
  /** Error of the output over that of plain rounding, of the rows that were looked at: at most 1. */
  readonly left: number;
}

/** Ratios that are tried. */
const RATIOS = 20;
/** Rows of a matrix that are looked at. */
const ROWS = 64;
/** Smallest magnitude. */
const LEAST = 1e-4;

/**
 * Searches scales for the inputs that matrices W [rows, cols] share, second moments H [cols, cols].
 *
 * @example Usage
 * ```ts
 * import { awqScales } from "./awq.ts";
 * import assert from "node:assert/strict";
 *
 * // one input in four is felt a hundred times more
 * const w = Float32Array.of(0.3, -0.7, 1, 0.52);
 * const h = Float64Array.of(1e4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1);
 * const { left, scales } = awqScales([w], h, { cols: 4, format: "int3-sym", group: "row" });
 * assert.ok(left < 0.5 && scales[0] > scales[1]);
 * ```
 */
export function awqScales(
  matrices: readonly Float32Array[],
  h: Symmetric,
  { cols, format, group = 128, magnitudes = magnitudesOf(h, cols) }: AwqOptions,
): AwqScales {
  const samples = matrices.map((w) => ({ w: someRows(w, cols), share: w.length / cols / ROWS }));
  const errorAt = (scales: Float64Array | null) =>
    samples.reduce((sum, { w, share }) => {
      return sum + Math.max(share, 1) * roundingError(w, scales, h, { cols, format, group });
    }, 0);
  const plain = errorAt(null);
  let best: AwqScales & { error: number } = {
    scales: new Float64Array(cols).fill(1),
    ratio: 0,
    left: 1,
    error: plain,
  };
  for (let i = 1; i < RATIOS; i++) {
    const scales = scalesAt(magnitudes, Math.round(1024 * i / RATIOS));
    const error = errorAt(scales);
    if (error < best.error) best = { scales, ratio: i / RATIOS, left: error / plain, error };
  }
  const { error: _, ...found } = best;
  return found;
}

/** At most 64 rows of W [rows, cols], evenly spread. */
export function someRows(w: Float32Array, cols: number): Float32Array {
  const rows = w.length / cols;
  if (rows <= ROWS) return w;
  const some = new Float32Array(ROWS * cols);
  for (let i = 0; i < ROWS; i++) {
    const start = cols * Math.floor((i + 0.5) * rows / ROWS);
    some.set(w.subarray(start, start + cols), i * cols);
  }
  return some;
}

/** Root mean square of each input: [cols]. */
export function magnitudesOf(h: Symmetric, cols: number): Float64Array {
  return Float64Array.from({ length: cols }, (_, j) => Math.sqrt(h[j * cols + j]));
}

/** Error of the output where W is rounded as W s and s undone. */
function roundingError(
  w: Float32Array,
  scales: Float64Array | null,
  h: Symmetric,
  { cols, format, group }: Required<Pick<AwqOptions, "cols" | "format" | "group">>,
): number {
  const scaled = scales ? w.map((value, i) => value * scales[i % cols]) : w;
  const q = dequantize(quantize(scaled, { rows: w.length / cols, cols, format, group }));
  const error = q.map((value, i) => (scales ? value / scales[i % cols] : value) - w[i]);
  return rowEnergies(error, h).reduce((sum, energy) => sum + energy, 0);
}

/** m^(k/1024) over the root of its largest times its smallest. */
function scalesAt(magnitudes: Float64Array, k: number): Float64Array {
  const raised = magnitudes.map((size) => rootPower(Math.max(size, LEAST), k));
  const [least, most] = [Math.min(...raised), Math.max(...raised)];
  const middle = Math.sqrt(least) * Math.sqrt(most);
  return raised.map((size) => size / middle);
}

/** x^(k / 1024), 0 <= k < 1024, by square roots. */
export function rootPower(x: number, k: number): number {
  let power = 1, root = x;
  for (let bit = 512; bit >= 1; bit /= 2) {
    root = Math.sqrt(root);
    if (k & bit) power *= root;
  }
  return power;
}
