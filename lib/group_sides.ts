/**
 * The weights of a group as the problems that a scale each solves: of two scales, the weights above 0
 * and the sizes of those below, each with the levels of its side; of one, all weights and levels.
 *
 * @module
 */

import type { Format } from "./format.ts";
import { type Ladder, ladderOf } from "./ladder.ts";
import type { PackedShape } from "./pack.ts";

/** What shares a scale. */
export interface Side {
  readonly ladder: Ladder;
  /** Weights, or the sizes of those below 0; the first `count` are the group's. */
  readonly x: Float64Array;
  count: number;
}

/** The problems of a group, to be filled by {@linkcode gather}. */
export function sidesOf({ format, group, cols }: PackedShape): Side[] {
  const room = group === "row" ? cols : group;
  return laddersOf(format).map((ladder) => ({ ladder, x: new Float64Array(room), count: 0 }));
}

const known = new WeakMap<Format, readonly Ladder[]>();

function laddersOf(format: Format): readonly Ladder[] {
  const ladders = known.get(format) ?? levelsOf(format).map(ladderOf);
  known.set(format, ladders);
  return ladders;
}

/** Levels of the sides, or all; 0 where a side has none. */
function levelsOf({ grid, scaling }: Format): Float32Array[] {
  if (scaling !== "two") return [grid];
  const above = grid.filter((level) => level >= 0);
  const below = grid.filter((level) => level <= 0).map((level) => -level).reverse();
  return [above, below].map((levels) => levels.length > 0 ? levels : new Float32Array(1));
}

/** Shares out `w[start .. end]`: each weight is put on both sides, and what comes next covers one. */
export function gather(w: Float32Array, start: number, end: number, sides: readonly Side[]): void {
  const [above, below] = sides, x = above.x;
  above.count = end - start;
  if (below === undefined) {
    for (let i = start; i < end; i++) x[i - start] = w[i];
    return;
  }
  const y = below.x;
  let ups = 0, downs = 0;
  for (let i = start; i < end; i++) {
    const weight = w[i], down = +(weight < 0);
    x[ups] = weight;
    y[downs] = -weight;
    ups += 1 - down;
    downs += down;
  }
  above.count = ups;
  below.count = downs;
}

/** Calls `visit` for each group of W [rows, cols] with its range of weights and its place. */
export function eachGroup(
  { rows, cols, group }: PackedShape,
  visit: (start: number, end: number, row: number, group: number) => void,
): void {
  const width = group === "row" ? cols : group;
  for (let row = 0; row < rows; row++) {
    for (let at = 0, index = 0; at < cols; at += width, index++) {
      visit(row * cols + at, row * cols + Math.min(at + width, cols), row, index);
    }
  }
}
