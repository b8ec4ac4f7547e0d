/**
 * Scales of a linear's inputs, moved into whatever makes these inputs: W diag(s) with inputs x / s is
 * W with x, and nothing runs at run time that did not run before.
 *
 *   qkv      into the gain of the norm before attention
 *   output   into the rows of v, and its bias: attention only averages over positions; query heads
 *            that share a head of v share its scales
 *   gateUp   into the gain of the norm before the MLP
 *   down     into the rows of up, and its bias: silu(gate) * up is linear in up
 *
 * Gains and biases keep their dtype, and still nothing is lost to it: not s is used but the ratio
 * s' = g / round(g / s) that the stored number leaves, column by column, so the function changes by
 * the rounding of f32 products alone. A gain of 0 keeps its column as it is.
 *
 * @module
 */

import type { HostLayer } from "./block_inputs.ts";
import type { CpuWeight } from "./cpu_ops.ts";
import { type FloatDtype, narrow, widen } from "./float16.ts";
import { denseRow, type Matrix } from "./linear_reference.ts";
import type { ModelConfig } from "./model_config.ts";
import type { LinearName } from "./ops.ts";

/** Where scales are folded: a layer of a network, and the dtype its gains and biases are kept in. */
export interface FoldingSite {
  readonly config: ModelConfig;
  readonly dtype: FloatDtype;
}

/**
 * Folds scales [cols] of a linear's inputs into a layer of dense weights; gives those that were used.
 */
export function foldScales(
  layer: HostLayer,
  linear: LinearName,
  scales: Float64Array,
  { config, dtype }: FoldingSite,
): Float64Array {
  const { heads, kvHeads, headDim, hidden } = config;
  let used: Float64Array;
  if (linear === "qkv" || linear === "gateUp") {
    const norm = linear === "qkv" ? "attentionNorm" : "mlpNorm";
    used = exactScales(layer[norm], scales, dtype);
    layer[norm] = inDtype(layer[norm].map((gain, j) => gain / used[j]), dtype);
  } else {
    const producer = linear === "output" ? "qkv" : "gateUp";
    const rows = linear === "output" ? kvHeads * headDim : hidden;
    const first = linear === "output" ? (heads + kvHeads) * headDim : hidden;
    const own = linear === "output" ? sharedOnce(scales, config) : scales;
    const bias = layer[producer].bias?.subarray(first, first + rows);
    const exact = bias ? exactScales(bias, own, dtype) : own;
    layer[producer] = scaleRows(layer[producer], first, exact.map((scale) => 1 / scale));
    if (bias) layer[producer].bias!.set(inDtype(layer[producer].bias!, dtype));
    used = linear === "output" ? spread(exact, config) : exact;
  }
  layer[linear] = scaleColumns(layer[linear], used);
  return used;
}

/**
 * Magnitudes [cols] of a linear's inputs, equal where they must share a scale: for `output` the root
 * of the mean square over the query heads of a group.
 */
export function sharedMagnitudes(
  magnitudes: Float64Array,
  linear: LinearName,
  config: ModelConfig,
): Float64Array {
  if (linear !== "output") return magnitudes;
  const { heads, kvHeads } = config;
  const sums = new Float64Array(kvHeads * config.headDim);
  magnitudes.forEach((size, j) => sums[sharedIndex(j, config)] += size * size);
  return spread(sums.map((sum) => Math.sqrt(sum / (heads / kvHeads))), config);
}

/** Row of v that makes column j of the inputs of `output`. */
function sharedIndex(j: number, { heads, kvHeads, headDim }: ModelConfig): number {
  const head = Math.floor(j / headDim);
  return Math.floor(head / (heads / kvHeads)) * headDim + j % headDim;
}

/** [kvHeads headDim] of [heads headDim] numbers that are equal within a group. */
function sharedOnce(scales: Float64Array, config: ModelConfig): Float64Array {
  const once = new Float64Array(config.kvHeads * config.headDim);
  scales.forEach((scale, j) => once[sharedIndex(j, config)] = scale);
  return once;
}

/** The way back. */
function spread(once: Float64Array, config: ModelConfig): Float64Array {
  const cols = config.heads * config.headDim;
  return Float64Array.from({ length: cols }, (_, j) => once[sharedIndex(j, config)]);
}

/** Scales near those wanted, by which these numbers can be divided within their dtype. */
function exactScales(numbers: Float32Array, scales: Float64Array, dtype: FloatDtype): Float64Array {
  const stored = inDtype(numbers.map((number, j) => number / scales[j]), dtype);
  return scales.map((_, j) => {
    const ratio = numbers[j] / stored[j];
    return Number.isFinite(ratio) && ratio !== 0 ? ratio : 1;
  });
}

function inDtype(numbers: Float32Array, dtype: FloatDtype): Float32Array {
  return widen(narrow(numbers, dtype), dtype);
}

/** W diag(s): scales [cols]. */
export function scaleColumns({ parts, bias }: CpuWeight, scales: Float64Array): CpuWeight {
  const scaled = parts.map((part) => {
    return mapRows(part, (w) => w.map((value, j) => value * scales[j]));
  });
  return { parts: scaled, bias };
}

/** Rows from `first` on, and their biases, times factors. */
export function scaleRows(
  { parts, bias }: CpuWeight,
  first: number,
  factors: Float64Array,
): CpuWeight {
  const factorAt = (row: number) => factors[row - first] ?? 1;
  let above = 0;
  const scaled = parts.map((part) => {
    const start = above;
    above += part.rows;
    return mapRows(part, (w, row) => w.map((value) => value * factorAt(start + row)));
  });
  return { parts: scaled, bias: bias && bias.map((value, row) => value * factorAt(row)) };
}

/** A dense matrix of f32, row by row. */
function mapRows(part: Matrix, map: (w: Float32Array, row: number) => Float32Array): Matrix {
  if ("codes" in part) {
    throw new Error(`Cannot fold scales into "${part.name}" as it must be dense: got codes`);
  }
  const { name, rows, cols } = part;
  const w = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) w.set(map(denseRow(part, row), row), row * cols);
  return { name, rows, cols, dtype: "F32", bytes: new Uint8Array(w.buffer) };
}
