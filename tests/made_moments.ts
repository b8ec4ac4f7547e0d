/**
 * Inputs as layers have them, made up: columns of unequal size that go together, and what is summed
 * of them.
 *
 * @module
 */
import { normal } from "./random.ts";

/** X [tokens, cols]: every column shares in its neighbours', some are ten times larger. */
export function madeInputs(cols: number, tokens: number, seed: number): Float64Array {
  const next = normal(seed);
  const sizes = Float64Array.from({ length: cols }, () => Math.exp(0.7 * next()));
  const x = new Float64Array(tokens * cols);
  for (let token = 0; token < tokens; token++) {
    let before = next();
    for (let column = 0; column < cols; column++) {
      before = 0.7 * before + 0.7 * next();
      x[token * cols + column] = before * sizes[column];
    }
  }
  return x;
}

/** X^T X / tokens, [cols, cols]. */
export function momentsOf(x: Float64Array, cols: number): Float64Array {
  const h = new Float64Array(cols * cols), tokens = x.length / cols;
  for (let token = 0; token < tokens; token++) {
    for (let i = 0; i < cols; i++) {
      for (let j = 0; j < cols; j++) {
        h[i * cols + j] += x[token * cols + i] * x[token * cols + j] / tokens;
      }
    }
  }
  return h;
}

/** Second moments of made inputs. */
export function gramOf(cols: number, tokens: number, seed: number): Float64Array {
  return momentsOf(madeInputs(cols, tokens, seed), cols);
}

/** diag(h). */
export function diagonalOf(numbers: ArrayLike<number>): Float64Array {
  const n = numbers.length;
  return Float64Array.from({ length: n * n }, (_, at) => at % (n + 1) === 0 ? numbers[at % n] : 0);
}
