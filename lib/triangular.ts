/**
 * The little linear algebra that GPTQ stands on, in f64, by + - * / and square roots alone: the same
 * bits on every runtime.
 *
 *   H = R R^T     R upper triangular, H [n, n] symmetric and positive
 *   U = R^-1      so H^-1 = U^T U: row j of U says how an error in column j is best spread over
 *                 the columns after it
 *
 * The textbook way to U inverts H and factors the inverse; working up from the last column takes a
 * third of that and keeps twice the digits. Matrices are row-major and dense; zeros below the
 * diagonal are stored.
 *
 * @module
 */

/** A symmetric matrix [n, n]. */
export type Symmetric = Float64Array | Float32Array;

/**
 * R with H = R R^T, or null where H is not positive to working precision.
 *
 * @example
 * ```ts
 * import { upperFactor } from "./triangular.ts";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(upperFactor(Float64Array.of(5, 2, 2, 1), 2), Float64Array.of(1, 2, 0, 1));
 * ```
 */
export function upperFactor(h: Symmetric, n: number): Float64Array | null {
  const r = new Float64Array(n * n);
  for (let j = n - 1; j >= 0; j--) {
    const square = h[j * n + j] - dot(r, j * n, j * n, j + 1, n);
    if (!(square > 0)) return null;
    const root = Math.sqrt(square);
    r[j * n + j] = root;
    for (let i = 0; i < j; i++) {
      r[i * n + j] = (h[i * n + j] - dot(r, i * n, j * n, j + 1, n)) / root;
    }
  }
  return r;
}

/** U = R^-1, both upper triangular, [n, n]. */
export function invertUpper(r: Float64Array, n: number): Float64Array {
  const u = new Float64Array(n * n);
  for (let i = n - 1; i >= 0; i--) {
    const own = 1 / r[i * n + i];
    for (let k = i + 1; k < n; k++) {
      const factor = r[i * n + k];
      if (factor === 0) continue;
      for (let j = k; j < n; j++) u[i * n + j] += factor * u[k * n + j];
    }
    for (let j = i + 1; j < n; j++) u[i * n + j] *= -own;
    u[i * n + i] = own;
  }
  return u;
}

/** Sum over k from `first` to `end` of r[a + k] r[b + k], in four strands that a CPU adds at once. */
function dot(r: Float64Array, a: number, b: number, first: number, end: number): number {
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0, k = first;
  for (; k + 4 <= end; k += 4) {
    s0 += r[a + k] * r[b + k];
    s1 += r[a + k + 1] * r[b + k + 1];
    s2 += r[a + k + 2] * r[b + k + 2];
    s3 += r[a + k + 3] * r[b + k + 3];
  }
  for (; k < end; k++) s0 += r[a + k] * r[b + k];
  return (s0 + s1) + (s2 + s3);
}
