/**
 * Means and how sure they are. A standard error is that of a mean of independent values, from their
 * own spread: s / sqrt(n), s^2 = sum (x - mean)^2 / (n - 1). Fewer than two values have none (null).
 *
 * Perplexity is exp(mean loss); its error follows by the delta rule, perplexity times that of the
 * mean. Two models scored on the same windows are compared by the differences, window by window:
 * what makes a window hard is common to both and drops out.
 *
 * Timings are told by quantiles, which a busy machine moves less than means, and compared by the
 * ratio within a round, for the same reason that windows are; how sure a median is comes from
 * drawing rounds again and again (bootstrap).
 *
 * @module
 */

import { createRandom } from "./sampling.ts";

/** A mean and its standard error, in the unit of the values. */
export interface Estimate {
  readonly mean: number;
  readonly standardError: number | null;
}

/**
 * Mean and standard error of values.
 *
 * @throws {RangeError} on none.
 *
 * @example
 * ```ts
 * import { estimate } from "./statistics.ts";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(estimate([1, 2, 3]), { mean: 2, standardError: Math.sqrt(1 / 3) });
 * ```
 */
export function estimate(values: ArrayLike<number>): Estimate {
  const mean = meanOf(values);
  const count = values.length;
  if (count < 2) return { mean, standardError: null };
  let squares = 0;
  for (let i = 0; i < count; i++) squares += (values[i] - mean) ** 2;
  return { mean, standardError: Math.sqrt(squares / (count - 1) / count) };
}

/** Mean and standard error of b - a, value by value. */
export function estimateDifference(a: ArrayLike<number>, b: ArrayLike<number>): Estimate {
  if (a.length !== b.length) {
    throw new RangeError(
      `Cannot compare values as there must be as many of each: got ${a.length} and ${b.length}`,
    );
  }
  return estimate(Float64Array.from(a, (value, i) => b[i] - value));
}

/** exp(mean loss), losses in nats. */
export function perplexityOf({ mean, standardError }: Estimate): Estimate {
  const perplexity = Math.exp(mean);
  return {
    mean: perplexity,
    standardError: standardError === null ? null : perplexity * standardError,
  };
}

/** The mean, summed in f64 with what rounding drops (Neumaier). */
export function meanOf(values: ArrayLike<number>): number {
  if (values.length === 0) {
    throw new RangeError("Cannot take a mean as it must be of one value or more: got none");
  }
  let [sum, dropped] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const [value, more] = [values[i], sum + values[i]];
    dropped += Math.abs(sum) >= Math.abs(value) ? (sum - more) + value : (value - more) + sum;
    sum = more;
  }
  return (sum + dropped) / values.length;
}

/** A median and the bounds that hold it with 95 %. */
export interface Median {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** The value below which a share `q` of the values lies, interpolated between neighbours. */
export function quantile(values: ArrayLike<number>, q: number): number {
  if (values.length === 0 || !(q >= 0 && q <= 1)) {
    throw new RangeError(
      `Cannot take a quantile as it must be from 0 to 1, of one value or more: ` +
        `got ${q} of ${values.length}`,
    );
  }
  const sorted = Float64Array.from(values).sort();
  const at = q * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return below + (at - Math.floor(at)) * (above - below);
}

/**
 * The median of a[i] / b[i] over rounds i, with the bounds that 95 % of medians of as many rounds,
 * drawn from these with replacement, lie between. The same values give the same bounds.
 *
 * @throws {RangeError} if there are no rounds, or not as many of each
 */
export function pairedRatio(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  { draws = 1000, seed = 1 }: { draws?: number; seed?: number } = {},
): Median {
  if (a.length !== b.length || a.length === 0) {
    throw new RangeError(
      `Cannot compare rounds as there must be as many of each: got ${a.length} and ${b.length}`,
    );
  }
  const ratios = Float64Array.from(a, (value, i) => value / b[i]);
  const random = createRandom(seed);
  const drawn = () => ratios[Math.floor(random() * ratios.length)];
  const medians = Float64Array.from({ length: draws }, () => quantile(ratios.map(drawn), 0.5));
  return {
    median: quantile(ratios, 0.5),
    low: quantile(medians, 0.025),
    high: quantile(medians, 0.975),
  };
}
