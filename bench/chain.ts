/**
 * A chain of products, which anybody's kernels can be asked for: two matrices by turns, each product's
 * output the next one's input, and every matrix at a place in memory of its own.
 *
 *   X [tokens, cols] -> W_up [rows, cols] -> [tokens, rows] -> W_down [cols, rows] -> [tokens, cols] ->
 *   W_up -> W_down -> ... -> Y [tokens, cols], 2 x pairs products
 *
 * X comes from JavaScript and Y goes back there, so that what a caller waits for is counted, and a
 * chain long enough shares that out. Weights are normal with a variance of 1 / columns, by which
 * numbers keep their size along the chain. Everybody stores them in their own way, W'.
 *
 *   error   |Y - Y_64| / |Y_64|, of the first token and the last, Y_64 the same chain of W' in f64
 *
 * @module
 */
import { createRandom } from "../lib/sampling.ts";
import { distributions } from "./made_weights.ts";

/** How much is multiplied. */
export interface ChainShape {
  readonly rows: number;
  readonly cols: number;
  readonly tokens: number;
  /** How often the two matrices follow one another. */
  readonly pairs: number;
}

/** The two matrices, row by row. */
export interface ChainWeights {
  /** [rows, cols] */
  readonly up: Float32Array<ArrayBuffer>;
  /** [cols, rows] */
  readonly down: Float32Array<ArrayBuffer>;
}

/** A chain that is ready to run, until `free()`. */
export interface Chain {
  /** Of weights as stored, scales and all. */
  readonly bitsPerWeight: number;
  /** W', what the stored weights stand for. */
  weights(): ChainWeights;
  /** Y [tokens, cols] for X [tokens, cols]. */
  run(x: Float32Array<ArrayBuffer>): Promise<Float32Array>;
  free(): void | Promise<void>;
}

/** Somebody's way to multiply. */
export interface Peer {
  /** Whose it is, with a version. */
  readonly by: string;
  /** What it runs on: WebGPU, Vulkan or CPU. */
  readonly on: string;
  /** What weights are stored as, and activations where they are less than f32. */
  readonly format: string;
  /**
   * Stores the weights and makes the chain.
   *
   * @throws {Error} where the shape or its size is not for this peer
   */
  make(shape: ChainShape, weights: ChainWeights): Promise<Chain>;
}

/** Weights of a chain, the same for the same shape. */
export function chainWeights({ rows, cols }: { rows: number; cols: number }): ChainWeights {
  const random = createRandom(3), next = () => 1 - random(); // never 0
  const matrix = (rows: number, cols: number) => {
    const spread = Math.sqrt(1 / cols);
    return Float32Array.from({ length: rows * cols }, () => spread * distributions.normal(next));
  };
  return { up: matrix(rows, cols), down: matrix(cols, rows) };
}

const known = new WeakMap<Float32Array, Map<string, unknown>>();

/**
 * What is made of a matrix, by a name for it: made once, then taken again by chains of other batches, and of
 * other peers that store it so. Some quantisers take 10 s for a matrix.
 */
export function once<T>(w: Float32Array, name: string, make: () => T): T {
  const all = known.get(w) ?? new Map<string, unknown>();
  known.set(w, all);
  if (!all.has(name)) all.set(name, make());
  return all.get(name) as T;
}

/** How far Y is from the chain of W' in f64, over its first token and its last. */
export function chainError(
  { rows, cols, tokens, pairs }: ChainShape,
  { up, down }: ChainWeights,
  x: Float32Array,
  y: Float32Array,
): number {
  let [squared, whole] = [0, 0];
  for (const token of new Set([0, tokens - 1])) {
    let wanted: ArrayLike<number> = x.subarray(token * cols, (token + 1) * cols);
    for (let pair = 0; pair < pairs; pair++) {
      wanted = times(down, times(up, wanted, rows), cols);
    }
    for (let i = 0; i < cols; i++) {
      squared += (y[token * cols + i] - wanted[i]) ** 2;
      whole += wanted[i] ** 2;
    }
  }
  return Math.sqrt(squared / whole);
}

/** W x in f64. */
function times(w: Float32Array, x: ArrayLike<number>, rows: number): Float64Array {
  const y = new Float64Array(rows);
  for (let row = 0, at = 0; row < rows; row++) {
    let sum = 0;
    for (let column = 0; column < x.length; column++) sum += w[at++] * x[column];
    y[row] = sum;
  }
  return y;
}
