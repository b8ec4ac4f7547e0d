/**
 * One row of a packed matrix while its codes and scales are being improved, with what that does to the
 * row's output (row_descent.ts).
 *
 * @module
 */

import type { Format } from "./format.ts";
import { groupsPerRow, type QuantizedMatrix } from "./pack.ts";
import { openMatrix, repack, storableScales, valueOf } from "./repack.ts";
import { type Change, type RowDescent, rowDescent, settle } from "./row_descent.ts";
import type { Symmetric } from "./triangular.ts";

/** A row; codes and scales are to be changed together with `state`. */
export interface OpenRow {
  readonly format: Format;
  /** Columns of a group. */
  readonly width: number;
  readonly groups: number;
  /** [cols] */
  readonly w: Float32Array;
  /** [cols] */
  readonly codes: Uint8Array;
  /** True scales, [groups, 2]: above and below 0 | scale, zero-point. */
  readonly scales: Float64Array;
  readonly state: RowDescent;
  /** The scale nearest to one that is wanted that can be stored here. */
  storable(wanted: number): number;
}

/** Calls `improve` for each row of q, which stands for W [rows, cols]; gives what became of q. */
export function eachOpenRow(
  q: QuantizedMatrix,
  w: Float32Array,
  h: Symmetric,
  improve: (row: OpenRow, index: number) => void,
): QuantizedMatrix {
  const { rows, cols, format } = q, groups = groupsPerRow(q);
  const width = q.group === "row" ? cols : q.group;
  const { codes, scales } = openMatrix(q), storable = storableScales(q);
  const state = rowDescent(h, cols);
  for (let row = 0; row < rows; row++) {
    const own: OpenRow = {
      ...{ format, width, groups, state },
      w: w.subarray(row * cols, (row + 1) * cols),
      codes: codes.subarray(row * cols, (row + 1) * cols),
      scales: scales.subarray(2 * row * groups, 2 * (row + 1) * groups),
      storable: (wanted) => storable(row, wanted),
    };
    for (let j = 0; j < cols; j++) {
      const pair = 2 * Math.floor(j / width);
      state.d[j] = valueOf(format, own.codes[j], own.scales[pair], own.scales[pair + 1]) - own.w[j];
    }
    settle(state);
    improve(own, row);
  }
  return repack(q, { codes, scales });
}

/** One of a row's scales: of levels above 0 or of all, or of those below. */
export interface Place {
  readonly group: number;
  readonly side: 0 | 1;
}

/** All scales of a row, in order. */
export function placesOf({ format, groups }: OpenRow): Place[] {
  const sides = format.scaling === "two" ? [0, 1] as const : [0] as const;
  return Array.from({ length: groups }, (_, group) => sides.map((side) => ({ group, side })))
    .flat();
}

/** Columns of a group: the first, and how many. */
export function columnsOf({ width, w }: OpenRow, { group }: Place): [start: number, count: number] {
  return [group * width, Math.min(width, w.length - group * width)];
}

/** The levels that a scale is of, by codes of its group: v with w' = v s. */
export function levelsAt(row: OpenRow, place: Place, codes: Uint8Array, v: Change): void {
  const { levels, scaling } = row.format;
  const [start, count] = columnsOf(row, place);
  const zero = scaling === "zero-point" ? row.scales[2 * place.group + 1] : 0;
  v.count = 0;
  for (let i = 0; i < count; i++) {
    const level = levels[codes[i]] - zero;
    if (level === 0 || (scaling === "two" && level < 0 !== (place.side === 1))) continue;
    v.columns[v.count] = start + i;
    v.by[v.count++] = level;
  }
}

/** Puts a scale in its place. */
export function putScale({ format, scales }: OpenRow, { group, side }: Place, scale: number): void {
  scales[2 * group + side] = scale;
  if (format.scaling === "one") scales[2 * group + 1] = scale;
}
