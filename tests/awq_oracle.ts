/**
 * AWQ once more, written apart and as plain as its description, in f64, over the tokens X [tokens, cols]
 * themselves:
 *
 *   search   m_j = root mean square of input j; for r = 0, 0.05 ... 0.95, to 1/1024, the inputs' scales
 *            are m^r / sqrt(max min), and that r is kept at which outputs of round(W s) / s differ least
 *   fold     into a norm's gain, or into the rows of the linear before
 *   clip     for each group and side in turn, twice around: of a row of scales, and of the one that
 *            least squares give, the scale at which the row's outputs differ least
 *
 * No file of lib/ but the formats' tables.
 *
 * @module
 */
import type { Format } from "../lib/format.ts";

/** Rows of numbers. */
type Rows = number[][];

/** W, its inputs, and how W is rounded. */
export interface AwqCase {
  readonly w: Rows;
  readonly x: Rows;
  readonly format: Format;
  readonly group: number;
}

/** The ratio and the scales that are kept, and what they leave of the error of plain rounding. */
export function plainSearch({ w, x, format, group }: AwqCase) {
  const m = w[0].map((_, j) => {
    return Math.max(Math.sqrt(x.reduce((sum, t) => sum + t[j] ** 2, 0) / x.length), 1e-4);
  });
  const tried = Array.from({ length: 20 }, (_, i) => {
    const raised = m.map((size) => size ** (Math.round(1024 * i / 20) / 1024));
    const middle = Math.sqrt(Math.max(...raised) * Math.min(...raised));
    const s = raised.map((size) => size / middle);
    const rounded = w.map((row) => {
      const scaled = row.map((value, j) => Math.fround(value * s[j]));
      return plainRow(scaled, format, group).map((value, j) => value / s[j]);
    });
    const error = w.reduce((sum, row, i) => sum + outputError(x, row, rounded[i]), 0);
    return { ratio: i / 20, s, error };
  });
  const best = tried.reduce((a, b) => b.error < a.error ? b : a);
  return { ...best, left: best.error / tried[0].error };
}

/** W diag(s), and the gain of the norm before it over s. */
export function foldIntoGain(w: Rows, gain: number[], s: number[]): { w: Rows; gain: number[] } {
  return { w: w.map((row) => row.map((v, j) => v * s[j])), gain: gain.map((g, j) => g / s[j]) };
}

/** W diag(s), and the rows of the matrix before it over scales of their own. */
export function foldIntoRows(
  w: Rows,
  before: Rows,
  { s, own }: { s: number[]; own: number[] },
): { w: Rows; before: Rows } {
  return {
    w: w.map((row) => row.map((v, j) => v * s[j])),
    before: before.map((row, i) => row.map((v) => v / own[i])),
  };
}

/** A row rounded with clipped scales: its weights, and the scales of its groups, a pair each. */
export function plainClip(row: number[], { x, format, group }: Omit<AwqCase, "w">) {
  const groups = Math.ceil(row.length / group);
  const tops = Array.from({ length: groups }, (_, g) => {
    return topsOf(row.slice(g * group, (g + 1) * group), format);
  });
  const pairs = tops.map(([a, b]) => [Math.f16round(a), Math.f16round(b)]);
  const one = format.scaling === "one";
  const weightsBy = (all: number[][]) =>
    row.map((v, j) => nearest(v, all[Math.floor(j / group)], format));
  const errorBy = (all: number[][]) => outputError(x, row, weightsBy(all));
  for (let round = 0; round < 2; round++) {
    for (let g = 0; g < groups; g++) {
      for (let side = 0; side < (one ? 1 : 2); side++) {
        const using = (scale: number) =>
          pairs.map((pair, i) =>
            i !== g ? pair : pair.map((p, k) => one || k === side ? scale : p)
          );
        let best = pairs[g][side], least = errorBy(pairs);
        const consider = (scale: number) => {
          const error = errorBy(using(scale));
          if (error < least) [best, least] = [scale, error];
          return best === scale;
        };
        for (let i = 0; i < 13; i++) consider(Math.f16round(tops[g][side] * (1 - i / 24)));
        for (let i = 0; i < 2; i++) {
          const now = weightsBy(using(best));
          const own = now.map((v, j) => {
            const mine = Math.floor(j / group) === g && (one || (side === 1) === (v < 0));
            return mine ? v / best : 0;
          });
          const scale = Math.f16round(best + leastSquares(x, own, row.map((v, j) => v - now[j])));
          if (scale === best || !consider(scale)) break;
        }
        pairs[g] = using(best)[g];
      }
    }
  }
  return { weights: weightsBy(pairs), pairs };
}

/** That a with which a v is nearest to the wanted change, at the outputs. */
function leastSquares(x: Rows, v: number[], wanted: number[]): number {
  const at = (t: number[], d: number[]) => d.reduce((sum, value, j) => sum + value * t[j], 0);
  const [up, down] = [
    x.reduce((sum, t) => sum + at(t, v) * at(t, wanted), 0),
    x.reduce((sum, t) => sum + at(t, v) ** 2, 0),
  ];
  return down === 0 ? 0 : up / down;
}

/** Sum over tokens of (w' x - w x)^2. */
export function outputError(x: Rows, w: ArrayLike<number>, rounded: ArrayLike<number>): number {
  return x.reduce((sum, t) => {
    let y = 0;
    for (let j = 0; j < t.length; j++) y += (rounded[j] - w[j]) * t[j];
    return sum + y * y;
  }, 0);
}

/** A row rounded with the scales that reach the extremes, f16 numbers. */
function plainRow(row: number[], format: Format, group: number): number[] {
  return row.flatMap((_, start) => {
    if (start % group !== 0) return [];
    const own = row.slice(start, start + group);
    const pair = topsOf(own, format).map(Math.f16round);
    return own.map((v) => nearest(v, pair, format));
  });
}

/** Scales that reach the largest weight of each side, or of both where they share one. */
function topsOf(own: number[], { grid, scaling }: Format): [number, number] {
  const [hi, lo] = [Math.max(0, ...own), Math.max(0, ...own.map((v) => -v))];
  const [top, bottom] = [grid[grid.length - 1], -grid[0]];
  if (scaling === "two") return [hi / top, lo / bottom];
  const one = Math.max(hi, lo) / (hi >= lo ? top : bottom);
  return [one, one];
}

/** The level nearest to a weight on its own side, times the scale of that side. */
function nearest(weight: number, [above, below]: number[], { grid }: Format): number {
  const scale = weight < 0 ? below : above;
  const own = [...grid].filter((level) => weight < 0 ? level <= 0 : level >= 0);
  return own.map((level) => level * scale).reduce((a, b) =>
    Math.abs(b - weight) < Math.abs(a - weight) ? b : a
  );
}
