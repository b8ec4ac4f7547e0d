/**
 * Scales of a group that lose least, each weight's error counted by its column:
 *
 *   minimise  sum over the group of d_j (w'_j - w_j)^2
 *
 * where d [cols] is what GPTQ makes of the inputs' second moments. What columns do together is not
 * counted; output_clip.ts does that. With d = 1 throughout it is the plain clip by weight error.
 *
 *   1. shrink    the group's extremes times 1, 0.98, ... 0.5; with two scales the sides are
 *                independent, since a weight never changes sides, and one pass serves both
 *   2. refine    codes fixed, the best scale of a side is sum d w level / sum d level^2; then codes
 *                again; kept only where the error falls
 *
 * A zero-point stays: extremes that shrink alike keep it. No storage is added: only the numbers that
 * are stored anyway change.
 *
 * @module
 */

import type { Format } from "./format.ts";
import { encoderOf } from "./rounding.ts";

/** Weights of one group and how much each counts, from `start` to `end`. */
export interface WeightedGroup {
  readonly w: Float32Array;
  readonly start: number;
  readonly end: number;
  /** Counted from the first weight of the group on. */
  readonly importance: ArrayLike<number>;
}

const STEPS = 26;
const REFINEMENTS = 2;

/**
 * A function that gives the better scales of a group: of levels above 0, and of those below or the
 * zero-point. It is given those that reach the group's extremes, as true numbers.
 */
export function clipperOf(
  format: Format,
): (group: WeightedGroup, first: number, second: number) => [number, number] {
  const encode = encoderOf(format);
  const codes = new Uint8Array(1 << 16);
  const two = format.scaling === "two";
  const errorsOf = (group: WeightedGroup, first: number, second: number): Sides => {
    const room = group.end - group.start > codes.length;
    const own = room ? new Uint8Array(group.end - group.start) : codes;
    const other = format.integer && format.scaling !== "zero-point" ? format.zeroCode : second;
    encode(group.w, { ...group, at: 0 }, own, first, other);
    return sidesOf(format, group, own, first, second);
  };
  return (group, first, second) => {
    const best = [{ error: Infinity, scale: first }, { error: Infinity, scale: second }];
    const consider = (a: number, b: number) => {
      const { error } = errorsOf(group, a, b);
      if (two) {
        if (error[0] < best[0].error) best[0] = { error: error[0], scale: a };
        if (error[1] < best[1].error) best[1] = { error: error[1], scale: b };
      } else if (error[0] + error[1] < best[0].error) {
        best[0] = { error: error[0] + error[1], scale: a };
        if (format.scaling === "one") best[1].scale = a;
      }
    };
    const kept = format.scaling === "zero-point";
    for (let i = 0; i < STEPS; i++) {
      const shrink = 1 - i / 50;
      consider(first * shrink, kept ? second : second * shrink);
    }
    for (let i = 0; i < REFINEMENTS; i++) {
      const [a, b] = [best[0].scale, best[1].scale];
      const { fit } = errorsOf(group, a, b);
      const shared = fit[2] ?? a;
      if (two) consider(fit[0] ?? a, fit[1] ?? b);
      else consider(shared, kept ? second : shared);
    }
    return [best[0].scale, best[1].scale];
  };
}

/** Weighted errors above and below 0, and the scales that would suit these codes best. */
interface Sides {
  error: [number, number];
  /** Of the side above 0, of that below, of both; null where no code of it is other than 0. */
  fit: (number | null)[];
}

function sidesOf(
  { levels, scaling }: Format,
  { w, start, end, importance }: WeightedGroup,
  codes: Uint8Array,
  first: number,
  second: number,
): Sides {
  const zero = scaling === "zero-point" ? second : 0;
  const below = scaling === "two" ? second : first;
  let e0 = 0, e1 = 0, n0 = 0, n1 = 0, d0 = 0, d1 = 0;
  for (let i = start, j = 0; i < end; i++, j++) {
    const weight = w[i], d = importance[j], level = levels[codes[j]] - zero;
    if (weight >= 0) {
      const error = level * first - weight;
      e0 += d * error * error;
      n0 += d * weight * level;
      d0 += d * level * level;
    } else {
      const error = level * below - weight;
      e1 += d * error * error;
      n1 += d * weight * level;
      d1 += d * level * level;
    }
  }
  const ratio = (n: number, d: number) => d > 0 && n > 0 ? n / d : null;
  return { error: [e0, e1], fit: [ratio(n0, d0), ratio(n1, d1), ratio(n0 + n1, d0 + d1)] };
}
