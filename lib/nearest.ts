/**
 * The nearest right spelling of a mistyped word: fewest letters to add, drop, change or swap with a
 * neighbour.
 *
 * @module
 */

/**
 * The candidate nearest to a word, the first of several; undefined where there is none.
 *
 * @example
 * ```ts
 * import { nearest } from "./nearest.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(nearest("quantise", ["quantize", "inspect"]), "quantize");
 * ```
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const lower = word.toLowerCase().slice(0, 100);
  const edits = candidates.map((candidate) => editDistance(lower, candidate.toLowerCase()));
  return candidates[edits.indexOf(Math.min(...edits))];
}

/** Letters to add, drop, change or swap to get from `a` to `b` (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  let [older, old] = [[] as number[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row[j] = Math.min(
        old[j] + 1,
        row[j - 1] + 1,
        old[j - 1] + Number(a[i - 1] !== b[j - 1]),
        swapped ? older[j - 2] + 1 : Infinity,
      );
    }
    [older, old] = [old, row];
  }
  return old[b.length];
}
