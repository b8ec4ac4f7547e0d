/**
 * The error of one row of a layer's output, and what a change of its weights does to it, for methods
 * that change a few at a time and keep what loses less:
 *
 *   e = d H d^T        d = w' - w [cols], H [cols, cols] the inputs' second moments
 *   r = H d            what a column would like to be changed by is -r_j / H_jj
 *   d + c              changes e by 2 c r + c H c^T, over the columns of c alone
 *
 * r is kept up to date: a column that changes costs one row of H. Of a scale whose codes stay, c is a
 * multiple of the levels v that it is of, and the best multiple is -(v r) / (v H v).
 *
 * @module
 */

import type { Symmetric } from "./triangular.ts";

/** A row in work. */
export interface RowDescent {
  readonly cols: number;
  readonly h: Symmetric;
  /** w' - w, [cols] */
  readonly d: Float64Array;
  /** H d, [cols] */
  readonly r: Float64Array;
}

/** A change of some columns, in order; room for all. */
export interface Change {
  readonly columns: Uint32Array;
  readonly by: Float64Array;
  count: number;
}

/** A row without an error. */
export function rowDescent(h: Symmetric, cols: number): RowDescent {
  return { cols, h, d: new Float64Array(cols), r: new Float64Array(cols) };
}

/** No change yet. */
export function noChange(cols: number): Change {
  return { columns: new Uint32Array(cols), by: new Float64Array(cols), count: 0 };
}

/** Works r out anew from d. */
export function settle({ cols, h, d, r }: RowDescent): void {
  for (let i = 0; i < cols; i++) {
    const at = i * cols;
    let even = 0, odd = 0, j = 0;
    for (; j + 1 < cols; j += 2) {
      even += h[at + j] * d[j];
      odd += h[at + j + 1] * d[j + 1];
    }
    r[i] = even + odd + (j < cols ? h[at + j] * d[j] : 0);
  }
}

/** Changes column j. */
export function moveColumn({ cols, h, d, r }: RowDescent, j: number, by: number): void {
  if (by === 0) return;
  d[j] += by;
  for (let i = 0, at = j * cols; i < cols; i++) r[i] += h[at + i] * by;
}

/** Changes all columns of a change. */
export function applyChange(row: RowDescent, { columns, by, count }: Change): void {
  for (let i = 0; i < count; i++) moveColumn(row, columns[i], by[i]);
}

/**
 * What a change would add to e, 2 c r + c H c^T.
 *
 * @example Usage
 * ```ts
 * import { changeOfError, noChange, rowDescent } from "./row_descent.ts";
 * import assert from "node:assert/strict";
 *
 * const row = rowDescent(Float64Array.of(2, 1, 1, 3), 2), change = noChange(2);
 * change.count = 2;
 * change.columns.set([0, 1]);
 * change.by.set([1, 1]);
 * assert.equal(changeOfError(row, change), 7);
 * ```
 */
export function changeOfError(row: RowDescent, change: Change): number {
  const { columns, by, count } = change, { r } = row;
  let linear = 0;
  for (let i = 0; i < count; i++) linear += by[i] * r[columns[i]];
  return 2 * linear + curvature(row, change);
}

/** c H c^T of a change c. */
function curvature({ cols, h }: RowDescent, { columns, by, count }: Change): number {
  let square = 0;
  for (let i = 0; i < count; i++) {
    const at = columns[i] * cols;
    let sum = h[at + columns[i]] * by[i] / 2;
    for (let k = i + 1; k < count; k++) sum += h[at + columns[k]] * by[k];
    square += 2 * by[i] * sum;
  }
  return square;
}

/** How many times v would best be added once a change is made: -v (r + H c) / (v H v), 0 of no v. */
export function bestMultiple(row: RowDescent, v: Change, made: Change | null = null): number {
  const { cols, h, r } = row;
  let slope = 0;
  for (let i = 0; i < v.count; i++) {
    const at = v.columns[i] * cols;
    let pull = r[v.columns[i]];
    for (let k = 0; made && k < made.count; k++) pull += h[at + made.columns[k]] * made.by[k];
    slope += v.by[i] * pull;
  }
  const square = curvature(row, v);
  return square > 0 ? -slope / square : 0;
}
