/**
 * The linear kernels in plain TypeScript, one loop nest for all, accumulating in f64: what the WGSL must
 * compute, the oracle of its tests, and the backend where there is no GPU.
 *
 * Names and arguments are those of linear.ts, without the device. The bounds say how far a kernel may
 * be from the reference: 16 units of 2^-24 of the sum of magnitudes, whatever the shape. Tests, `check`
 * and benches hold kernels to that, with lopsided scales and one-hot x among the rest. It is no theorem:
 * a sum that goes up in steps rounds some 40 times on its way, and an x made for it, one large number and
 * thousands a 2^24th of it, can lose that much in the same direction each time, up to three times the bound.
 *
 * @module
 */

import { type FloatDtype, widen } from "./float16.ts";
import { type QuantizedMatrix, UNIT } from "./pack.ts";
import { dequantize, groupScales, rowCodes } from "./quantizer.ts";

/** W [rows, cols] as it stands in a dense checkpoint. */
export interface DenseMatrix {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly dtype: FloatDtype;
  /** Little-endian, row-major, no padding. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** W [rows, cols], packed or dense. */
export type Matrix = QuantizedMatrix | DenseMatrix;

/** Options of every product. */
export interface ProductOptions {
  /** Added to each token's y, [rows]. */
  bias?: Float32Array;
}

/** y = W x + b. W [rows, cols], x [cols] or [2, cols] -> y [rows] or [2, rows]. */
export function matvec(
  q: QuantizedMatrix,
  x: Float32Array,
  options: ProductOptions = {},
): Float32Array<ArrayBuffer> {
  return matmul(q, x, x.length / q.cols, options);
}

/** Y = X W^T + b. W [rows, cols], x [batch, cols] -> y [batch, rows]. */
export function matmul(
  q: QuantizedMatrix,
  x: Float32Array,
  batch: number,
  { bias }: ProductOptions = {},
): Float32Array<ArrayBuffer> {
  return product(q, x, batch, (row) => weightsOf(q, row), bias);
}

/** W [rows, cols]: level x scale, rounded once. */
export function dequantise(q: QuantizedMatrix): Float32Array<ArrayBuffer> {
  return dequantize(q);
}

/** y = W x + b. W [rows, cols] dense, x [cols] or [2, cols] -> y [rows] or [2, rows]. */
export function denseMatvec(
  w: DenseMatrix,
  x: Float32Array,
  options: ProductOptions = {},
): Float32Array<ArrayBuffer> {
  return denseMatmul(w, x, x.length / w.cols, options);
}

/** Y = X W^T + b. W [rows, cols] dense, x [batch, cols] -> y [batch, rows]. */
export function denseMatmul(
  w: DenseMatrix,
  x: Float32Array,
  batch: number,
  { bias }: ProductOptions = {},
): Float32Array<ArrayBuffer> {
  return product(w, x, batch, (row) => denseRow(w, row), bias);
}

/** How far matvec on a device may be from the reference, by output: see kernels/matvec.wgsl. */
export function matvecBound(q: QuantizedMatrix, x: Float32Array): Float64Array {
  const size = q.format.scaling === "two" ? largerSide : weightsOf;
  return bound(q, x, x.length / q.cols, (row) => size(q, row));
}

/**
 * The same for matvec in f16 (`--accuracy fast`): 20 x 2^-11 x sum |x level| S + 2^-24 m sum S, S being
 * the larger scale of a group and m the largest |x| of a token; see kernels/matvec_fast.wgsl.
 */
export function matvecFastBound(q: QuantizedMatrix, x: Float32Array): Float64Array {
  const size = q.format.scaling === "two" ? largerSide : weightsOf;
  const batch = x.length / q.cols;
  const exact = bound(q, x, batch, (row) => size(q, row));
  const bounds = exact.map((sum) => 20 * 2 ** -11 / (16 * 2 ** -24) * sum);
  for (let row = 0; row < q.rows; row++) {
    const all = scaleSum(q, row);
    for (let token = 0; token < batch; token++) {
      const own = x.subarray(token * q.cols, (token + 1) * q.cols);
      const most = own.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
      bounds[token * q.rows + row] += 2 ** -24 * most * all;
    }
  }
  return bounds;
}

/**
 * The same with activations of a byte (`--accuracy fast`): (m / 253 + 2^-119) sum |w| over each unit of
 * 32 columns, m being its largest |x|; see kernels/matvec_bytes.wgsl.
 */
export function matvecBytesBound(q: QuantizedMatrix, x: Float32Array): Float64Array {
  const bounds = new Float64Array(x.length / q.cols * q.rows);
  for (let row = 0; row < q.rows; row++) {
    const w = weightsOf(q, row);
    for (let at = row, start = 0; start < x.length; at += q.rows, start += q.cols) {
      for (let first = 0; first < q.cols; first += UNIT) {
        let most = 0, all = 0;
        for (let c = first; c < Math.min(first + UNIT, q.cols); c++) {
          most = Math.max(most, Math.abs(x[start + c]));
          all += Math.abs(w[c]);
        }
        bounds[at] += (most / 253 + 2 ** -119) * all;
      }
    }
  }
  return bounds;
}

/** How far matmul on a device may be from the reference, by output. */
export function matmulBound(q: QuantizedMatrix, x: Float32Array, batch: number): Float64Array {
  return bound(q, x, batch, (row) => weightsOf(q, row));
}

/** How far dense products on a device may be from the reference, by output. */
export function denseBound(w: DenseMatrix, x: Float32Array, batch: number): Float64Array {
  return bound(w, x, batch, (row) => denseRow(w, row));
}

/**
 * The same by matrix units (`--matrix-units`), W and X rounded to f16: 2^-9 sum |x w| +
 * 2^-24 (m sum |w| + S sum |x|), m being the largest |x| of a token and S the largest scale of W; of
 * dense f16 the same with S = 0. See kernels/matmul_matrix.wgsl.
 */
export function fragmentsBound(w: Matrix, x: Float32Array, batch: number): Float64Array {
  const packed = "codes" in w;
  const rowOf = (row: number) => packed ? weightsOf(w, row) : denseRow(w, row);
  const bounds = bound(w, x, batch, rowOf).map((sum) => 2 ** -9 / (16 * 2 ** -24) * sum);
  const most = packed ? largestScale(w) : 0;
  for (let token = 0; token < batch; token++) {
    const own = x.subarray(token * w.cols, (token + 1) * w.cols);
    let largest = 0, all = 0;
    for (const value of own) {
      largest = Math.max(largest, Math.abs(value));
      all += Math.abs(value);
    }
    for (let row = 0; row < w.rows; row++) {
      let size = 0;
      for (const weight of rowOf(row)) size += Math.abs(weight);
      bounds[token * w.rows + row] += 2 ** -24 * (largest * size + most * all);
    }
  }
  return bounds;
}

/** Largest scale of any group. */
function largestScale(q: QuantizedMatrix): number {
  let most = 0;
  const groups = q.group === "row" ? 1 : Math.ceil(q.cols / q.group);
  for (let row = 0; row < q.rows; row++) {
    for (let group = 0; group < groups; group++) {
      const { positive, negative } = groupScales(q, row, group);
      most = Math.max(most, positive, negative);
    }
  }
  return most;
}

/** Row of W in f64, exact: [cols]. */
export function weightsOf(q: QuantizedMatrix, row: number): Float64Array {
  return scaledRow(q, row, ({ positive, negative }, level) => level < 0 ? negative : positive);
}

/** Row of levels times the larger scale of their group. */
function largerSide(q: QuantizedMatrix, row: number): Float64Array {
  return scaledRow(q, row, ({ positive, negative }) => Math.max(positive, negative));
}

/** Sum over the columns of the larger scale of their group. */
function scaleSum(q: QuantizedMatrix, row: number): number {
  const width = q.group === "row" ? q.cols : q.group;
  let sum = 0;
  for (let start = 0, group = 0; start < q.cols; start += width, group++) {
    const { positive, negative } = groupScales(q, row, group);
    sum += Math.max(positive, negative) * Math.min(width, q.cols - start);
  }
  return sum;
}

function scaledRow(
  q: QuantizedMatrix,
  row: number,
  scaleOf: (scales: { positive: number; negative: number }, level: number) => number,
): Float64Array {
  const codes = rowCodes(q, row);
  const width = q.group === "row" ? q.cols : q.group;
  const weights = new Float64Array(q.cols);
  for (let start = 0, group = 0; start < q.cols; start += width, group++) {
    const scales = groupScales(q, row, group);
    for (let column = start; column < Math.min(start + width, q.cols); column++) {
      const level = q.format.levels[codes[column]] - scales.zero;
      weights[column] = level * scaleOf(scales, level);
    }
  }
  return weights;
}

/** Row of a dense matrix: [cols]. */
export function denseRow({ bytes, cols, dtype }: DenseMatrix, row: number): Float32Array {
  const rowBytes = cols * (dtype === "F32" ? 4 : 2);
  return widen(bytes.subarray(row * rowBytes, (row + 1) * rowBytes), dtype);
}

/** Y [batch, rows], each output summed in f64, in the order of the columns, and rounded once. */
function product(
  { rows, cols }: { rows: number; cols: number },
  x: Float32Array,
  batch: number,
  rowOf: (row: number) => Float64Array | Float32Array,
  bias?: Float32Array,
): Float32Array<ArrayBuffer> {
  const y = new Float32Array(batch * rows);
  const wide = new Float64Array(x);
  const [w, v] = [new Float64Array(cols), new Float64Array(cols)];
  const start = (row: number) => bias?.[row] ?? 0;
  for (let row = 0; row < rows; row += 2) {
    // a row and the next; the last of an odd number is its own neighbour
    const next = Math.min(row + 1, rows - 1);
    w.set(rowOf(row));
    v.set(next === row ? w : rowOf(next));
    let token = 0;
    for (; token + 4 <= batch; token += 4) {
      const sums = eightDots(w, v, wide, token * cols, start(row), start(next));
      for (let i = 0; i < 4; i++) {
        y[(token + i) * rows + row] = sums[i];
        y[(token + i) * rows + next] = sums[4 + i];
      }
    }
    for (; token < batch; token++) {
      y[token * rows + row] = dot(w, wide, token * cols, start(row));
      y[token * rows + next] = dot(v, wide, token * cols, start(next));
    }
  }
  return y;
}

function dot(w: Float64Array, x: Float64Array, at: number, start: number): number {
  let sum = start;
  for (let column = 0; column < w.length; column++) sum += w[column] * x[at + column];
  return sum;
}

const eight = new Float64Array(8);

/**
 * Two rows times four tokens from `at` on, [2, 4]: eight sums that a CPU adds to at once, where one
 * alone would wait for each addition. The result is only good until the next call.
 */
function eightDots(
  w: Float64Array,
  v: Float64Array,
  x: Float64Array,
  at: number,
  start: number,
  next: number,
): Float64Array {
  const cols = w.length;
  let a = start, b = start, c = start, d = start;
  let e = next, f = next, g = next, h = next;
  for (let i = 0, p = at; i < cols; i++, p++) {
    const wi = w[i], vi = v[i];
    const p0 = x[p], p1 = x[p + cols], p2 = x[p + 2 * cols], p3 = x[p + 3 * cols];
    a += wi * p0, b += wi * p1, c += wi * p2, d += wi * p3;
    e += vi * p0, f += vi * p1, g += vi * p2, h += vi * p3;
  }
  eight[0] = a, eight[1] = b, eight[2] = c, eight[3] = d;
  eight[4] = e, eight[5] = f, eight[6] = g, eight[7] = h;
  return eight;
}

/** 16 x 2^-24 x sum |w x|, [batch, rows]. */
function bound(
  { rows, cols }: { rows: number; cols: number },
  x: Float32Array,
  batch: number,
  rowOf: (row: number) => Float64Array | Float32Array,
): Float64Array {
  const bounds = new Float64Array(batch * rows);
  for (let row = 0; row < rows; row++) {
    const w = rowOf(row);
    for (let token = 0; token < batch; token++) {
      let sum = 0;
      for (let c = 0; c < cols; c++) sum += Math.abs(w[c] * x[token * cols + c]);
      bounds[token * rows + row] = 16 * 2 ** -24 * sum;
    }
  }
  return bounds;
}
