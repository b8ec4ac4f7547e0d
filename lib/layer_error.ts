/**
 * What quantised weights do to a layer's output, from its inputs' second moments alone:
 *
 *   sum over tokens |W' x - W x|^2 = sum over rows of d H d^T,   D = W' - W,   H = sum x x^T
 *
 * so the error over all of a calibration text costs one product with H, however long the text was.
 * Relative errors are shares of the output itself, sum over rows of w H w^T.
 *
 * @module
 */

import type { Symmetric } from "./triangular.ts";

/** Error of an output, and the output itself, in the unit of H. */
export interface LayerError {
  readonly squaredError: number;
  readonly squaredOutput: number;
}

/** Error of the output of W' [rows, cols] in place of W, H [cols, cols]. */
export function layerError(
  quantized: Float32Array,
  w: Float32Array,
  h: Symmetric,
): LayerError {
  const difference = quantized.map((value, i) => value - w[i]);
  return { squaredError: outputEnergy(difference, h), squaredOutput: outputEnergy(w, h) };
}

/** Share of the output that is lost: 0 where nothing is, also of nothing. */
export function relativeError({ squaredError, squaredOutput }: LayerError): number {
  return squaredError === 0 ? 0 : squaredError / squaredOutput;
}

/** Sum over rows of d H d^T: D [rows, cols], H [cols, cols]. */
export function outputEnergy(d: Float32Array, h: Symmetric): number {
  return rowEnergies(d, h).reduce((sum, energy) => sum + energy, 0);
}

/** d H d^T of every row, by the upper half of H: D [rows, cols] -> [rows]. */
export function rowEnergies(d: Float32Array, h: Symmetric): Float64Array {
  const cols = Math.sqrt(h.length);
  const rows = d.length / cols;
  const energies = new Float64Array(rows);
  // four rows share each number of H that is read
  const four = new Float64Array(4 * cols);
  for (let row = 0; row < rows; row += 4) {
    const count = Math.min(4, rows - row);
    four.fill(0);
    four.set(d.subarray(row * cols, (row + count) * cols));
    energies.set(fourEnergies(four, h, cols).subarray(0, count), row);
  }
  return energies;
}

function fourEnergies(d: Float64Array, h: Symmetric, n: number): Float64Array {
  let ea = 0, eb = 0, ec = 0, ed = 0;
  for (let i = 0; i < n; i++) {
    const own = h[i * n + i] / 2;
    let a = d[i] * own, b = d[n + i] * own, c = d[2 * n + i] * own, e = d[3 * n + i] * own;
    for (let j = i + 1, at = i * n + j; j < n; j++, at++) {
      const value = h[at];
      a += value * d[j];
      b += value * d[n + j];
      c += value * d[2 * n + j];
      e += value * d[3 * n + j];
    }
    ea += 2 * d[i] * a;
    eb += 2 * d[n + i] * b;
    ec += 2 * d[2 * n + i] * c;
    ed += 2 * d[3 * n + i] * e;
  }
  return Float64Array.of(ea, eb, ec, ed);
}
