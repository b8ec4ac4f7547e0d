/**
 * The operations of a network in f64, each with its derivative: `forward()` runs over them as over any
 * others and leaves a tape, and the tape run backwards gives the gradient of a loss.
 *
 *   Variable     value and gradient [tokens, width]
 *   TapeWeight   W [rows, cols] frozen, and adapters that are not: y = W x + b + s B (A x)
 *                A [rank, cols], B [rows, rank] over some of the rows
 *
 * Frozen numbers get no gradient. A window begins at position 0, and attention is over the window
 * itself. What is written in place (the residual stream, turned queries and keys) keeps one gradient,
 * which is right because the tape runs in reverse order. Norms of query and key heads are not here.
 *
 * @module
 */

import type { ModelConfig } from "./model_config.ts";
import type { Ops } from "./ops.ts";
import { attend, attendBack, turn, type Variable } from "./tape_attention.ts";

export type { Variable } from "./tape_attention.ts";

/** Low-rank numbers on rows from `firstRow` on, with gradients of the same shapes. */
export interface Adapter {
  readonly firstRow: number;
  readonly rows: number;
  readonly rank: number;
  readonly scale: number;
  /** [rank, cols] */
  readonly a: Float64Array;
  /** [rows, rank] */
  readonly b: Float64Array;
  readonly gradA: Float64Array;
  readonly gradB: Float64Array;
}

/** A frozen matrix with its adapters. */
export interface TapeWeight {
  readonly rows: number;
  readonly cols: number;
  readonly w: Float32Array;
  readonly bias: Float32Array | null;
  readonly adapters: readonly Adapter[];
}

/** Operations over variables, for one window of ids. */
export type TapeOps = Ops<Variable, TapeWeight, Float32Array>;

/** Operations for a window, and the way back over what they did. */
export function createTape(
  config: ModelConfig,
  rotations: Float32Array,
  ids: ArrayLike<number>,
): { ops: TapeOps; backward(): void } {
  const steps: (() => void)[] = [];
  const tokens = ids.length;
  const variable = (width: number): Variable => ({
    value: new Float64Array(tokens * width),
    grad: new Float64Array(tokens * width),
    width,
  });
  const linearInto = (w: TapeWeight, x: Variable, y: Variable) => {
    const projected = multiply(w, x, y);
    steps.push(() => multiplyBack(w, x, y, projected));
  };
  const linear = (w: TapeWeight, x: Variable) => {
    const y = variable(w.rows);
    linearInto(w, x, y);
    return y;
  };
  const ops: TapeOps = {
    embed({ w, cols }) {
      const x = variable(cols);
      for (let t = 0; t < tokens; t++) {
        x.value.set(w.subarray(ids[t] * cols).subarray(0, cols), t * cols);
      }
      return x;
    },
    norm(x, gain) {
      const y = variable(x.width);
      const [kept, roots] = normalise(x, gain, y, config.normEpsilon);
      steps.push(() => normaliseBack(x, gain, y, kept, roots));
      return y;
    },
    linear,
    addLinear: linearInto,
    gatedLinear(w, x) {
      const both = linear(w, x), y = variable(config.hidden);
      gate(both, y);
      steps.push(() => gateBack(both, y));
      return y;
    },
    rotate(qkv, _layer, gains) {
      if (gains) throw new Error("Cannot train a model as its heads must have no norms: got some");
      turn(qkv.value, config, rotations, 1);
      steps.push(() => turn(qkv.grad, config, rotations, -1));
    },
    attention(qkv) {
      const y = variable(config.heads * config.headDim);
      const shares = attend(qkv, y, config);
      steps.push(() => attendBack(qkv, y, shares, config));
      return y;
    },
  };
  return { ops, backward: () => steps.reverse().forEach((step) => step()) };
}

/** y += W x + b + s B (A x). Gives A x of each adapter, [tokens, rank]. */
function multiply(
  { w, bias, rows, cols, adapters }: TapeWeight,
  x: Variable,
  y: Variable,
): Float64Array[] {
  addProduct(y.value, rows, w, x.value, rows, cols, 0, 1);
  const tokens = x.value.length / cols;
  if (bias) { for (let i = 0; i < y.value.length; i++) y.value[i] += bias[i % rows]; }
  return adapters.map((adapter) => {
    const low = new Float64Array(tokens * adapter.rank);
    addProduct(low, adapter.rank, adapter.a, x.value, adapter.rank, cols, 0, 1);
    const { b, firstRow, rank, scale } = adapter;
    addProduct(y.value, rows, b, low, adapter.rows, rank, firstRow, scale);
    return low;
  });
}

type Numbers = Float32Array | Float64Array;

/** Y[:, first ..] += factor X W^T. W [rows, cols], X [tokens, cols], Y [tokens, stride]. */
function addProduct(
  y: Float64Array,
  stride: number,
  w: Numbers,
  x: Float64Array,
  rows: number,
  cols: number,
  first: number,
  factor: number,
): void {
  const tokens = x.length / cols;
  for (let row = 0; row < rows; row++) {
    const at = row * cols;
    let t = 0;
    for (; t + 4 <= tokens; t += 4) {
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      const p = t * cols;
      for (let j = 0; j < cols; j++) {
        const own = w[at + j], q = p + j;
        s0 += own * x[q];
        s1 += own * x[q + cols];
        s2 += own * x[q + 2 * cols];
        s3 += own * x[q + 3 * cols];
      }
      const to = t * stride + first + row;
      y[to] += factor * s0;
      y[to + stride] += factor * s1;
      y[to + 2 * stride] += factor * s2;
      y[to + 3 * stride] += factor * s3;
    }
    for (; t < tokens; t++) {
      let sum = 0;
      for (let j = 0; j < cols; j++) sum += w[at + j] * x[t * cols + j];
      y[t * stride + first + row] += factor * sum;
    }
  }
}

/** dX += factor dY[:, first ..] W. */
function addBack(
  dx: Float64Array,
  w: Numbers,
  dy: Float64Array,
  stride: number,
  { rows, cols, first, factor }: { rows: number; cols: number; first: number; factor: number },
): void {
  const tokens = dx.length / cols;
  for (let t = 0; t < tokens; t++) {
    // four rows share each number of dX that is written; beyond the last they count for nothing
    for (let row = 0; row < rows; row += 4) {
      const from = t * stride + first + row, left = rows - row;
      const g0 = factor * dy[from], g1 = left > 1 ? factor * dy[from + 1] : 0;
      const g2 = left > 2 ? factor * dy[from + 2] : 0, g3 = left > 3 ? factor * dy[from + 3] : 0;
      const w0 = row * cols, to = t * cols;
      const w1 = left > 1 ? w0 + cols : w0, w2 = left > 2 ? w1 + cols : w0;
      const w3 = left > 3 ? w2 + cols : w0;
      for (let j = 0; j < cols; j++) {
        dx[to + j] += (g0 * w[w0 + j] + g1 * w[w1 + j]) + (g2 * w[w2 + j] + g3 * w[w3 + j]);
      }
    }
  }
}

/** dW += factor dY[:, first ..]^T X. */
function addOuter(
  dw: Float64Array,
  dy: Float64Array,
  stride: number,
  x: Float64Array,
  { rows, cols, first, factor }: { rows: number; cols: number; first: number; factor: number },
): void {
  const tokens = x.length / cols;
  for (let t = 0; t < tokens; t++) {
    for (let row = 0; row < rows; row++) {
      const grad = factor * dy[t * stride + first + row], to = row * cols, from = t * cols;
      if (grad !== 0) { for (let j = 0; j < cols; j++) dw[to + j] += grad * x[from + j]; }
    }
  }
}

function multiplyBack(
  { w, rows, cols, adapters }: TapeWeight,
  x: Variable,
  y: Variable,
  projected: readonly Float64Array[],
): void {
  addBack(x.grad, w, y.grad, rows, { rows, cols, first: 0, factor: 1 });
  adapters.forEach(({ a, b, gradA, gradB, rank, rows: own, firstRow: first, scale }, i) => {
    const low = projected[i], dLow = new Float64Array(low.length);
    const up = { rows: own, cols: rank, first, factor: scale };
    addOuter(gradB, y.grad, rows, low, up);
    addBack(dLow, b, y.grad, rows, up);
    const down = { rows: rank, cols, first: 0, factor: 1 };
    addOuter(gradA, dLow, rank, x.value, down);
    addBack(x.grad, a, dLow, rank, down);
  });
}

/** y = x / rms(x) * gain; gives x as it was, and 1 / rms of each token. */
function normalise(
  x: Variable,
  gain: Float32Array,
  y: Variable,
  epsilon: number,
): [Float64Array, Float64Array] {
  const { width } = x, tokens = x.value.length / width;
  const roots = new Float64Array(tokens);
  for (let t = 0; t < tokens; t++) {
    let squares = 0;
    for (let j = 0; j < width; j++) squares += x.value[t * width + j] ** 2;
    roots[t] = 1 / Math.sqrt(squares / width + epsilon);
    for (let j = 0; j < width; j++) {
      y.value[t * width + j] = x.value[t * width + j] * roots[t] * gain[j];
    }
  }
  return [x.value.slice(), roots];
}

function normaliseBack(
  x: Variable,
  gain: Float32Array,
  y: Variable,
  kept: Float64Array,
  roots: Float64Array,
): void {
  const { width } = x;
  roots.forEach((root, t) => {
    const at = t * width;
    let along = 0;
    for (let j = 0; j < width; j++) along += y.grad[at + j] * gain[j] * kept[at + j];
    const pull = along * root * root * root / width;
    for (let j = 0; j < width; j++) {
      x.grad[at + j] += y.grad[at + j] * gain[j] * root - kept[at + j] * pull;
    }
  });
}

/** y = silu(gate) * up. */
function gate(both: Variable, y: Variable): void {
  const n = y.width;
  for (let i = 0; i < y.value.length; i++) {
    const at = Math.floor(i / n) * 2 * n + i % n, g = both.value[at];
    y.value[i] = g / (1 + Math.exp(-g)) * both.value[at + n];
  }
}

function gateBack(both: Variable, y: Variable): void {
  const n = y.width;
  for (let i = 0; i < y.value.length; i++) {
    const at = Math.floor(i / n) * 2 * n + i % n, g = both.value[at];
    const open = 1 / (1 + Math.exp(-g));
    both.grad[at] += y.grad[i] * both.value[at + n] * open * (1 + g * (1 - open));
    both.grad[at + n] += y.grad[i] * g * open;
  }
}
