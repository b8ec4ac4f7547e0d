/**
 * GPTQ once more, written apart and as slow as its definition: after each column the inverse of H over
 * the columns that are left is computed from nothing, and the error goes by its first row.
 *
 *   delta_k = -(w_j - q) [H_F^-1]_0k / [H_F^-1]_00,   F = the columns from j on
 *
 * Scales are f16 of the extremes, nearest levels are searched one by one. No file of lib/ but the
 * formats' tables.
 *
 * @module
 */
import type { Format } from "../lib/format.ts";
import type { Group } from "../lib/pack.ts";

/** Codes [rows, cols] of W by H, damped by 1 % of its mean diagonal. */
export function plainGptq(
  w: Float32Array,
  h: Float64Array,
  { rows, cols, format, group, actOrder }: {
    rows: number;
    cols: number;
    format: Format;
    group: Group;
    actOrder: boolean;
  },
): number[] {
  const order = [...Array(cols).keys()];
  if (actOrder) order.sort((a, b) => h[b * cols + b] - h[a * cols + a] || a - b);
  const mean = order.reduce((sum, j) => sum + h[j * cols + j], 0) / cols;
  const damped = (i: number, j: number) => h[i * cols + j] + (i === j ? 0.01 * mean : 0);
  const width = group === "row" ? cols : group;
  const firstRows = order.map((_, step) => {
    const left = order.slice(step);
    return firstRowOfInverse(left.map((i) => left.map((j) => damped(i, j))));
  });
  const codes: number[] = [];
  for (let row = 0; row < rows; row++) {
    const rest = [...w.subarray(row * cols, (row + 1) * cols)];
    const scalesFrom = (group: number) =>
      scalesOf(rest.slice(group * width, (group + 1) * width).map(Math.fround), format);
    const groups = Math.ceil(cols / width);
    const scales = Array.from({ length: groups }, (_, group) => scalesFrom(group));
    order.forEach((j, step) => {
      const own = Math.floor(j / width);
      if (!actOrder && j % width === 0) scales[own] = scalesFrom(own);
      const { code, value } = nearest(Math.fround(rest[j]), scales[own], format);
      codes[row * cols + j] = code;
      const inverse = firstRows[step];
      const error = (rest[j] - value) / inverse[0];
      order.slice(step + 1).forEach((k, i) => rest[k] -= error * inverse[i + 1]);
    });
  }
  return codes;
}

/** x with A x = (1, 0, 0, ...), by elimination with pivots. */
function firstRowOfInverse(a: number[][]): number[] {
  const n = a.length;
  const rows = a.map((row, i) => [...row, i === 0 ? 1 : 0]);
  for (let i = 0; i < n; i++) {
    const pivot = rows.slice(i).reduce(
      (best, row, k) => Math.abs(row[i]) > Math.abs(rows[best][i]) ? i + k : best,
      i,
    );
    [rows[i], rows[pivot]] = [rows[pivot], rows[i]];
    for (let k = i + 1; k < n; k++) {
      const factor = rows[k][i] / rows[i][i];
      for (let j = i; j <= n; j++) rows[k][j] -= factor * rows[i][j];
    }
  }
  const x = Array(n).fill(0);
  for (let i = n - 1; i >= 0; i--) {
    x[i] = (rows[i][n] - x.reduce((sum, v, j) => sum + (j > i ? rows[i][j] * v : 0), 0)) /
      rows[i][i];
  }
  return x;
}

interface Scales {
  positive: number;
  negative: number;
  zero: number;
}

function scalesOf(w: number[], { grid, scaling }: Format): Scales {
  const hi = Math.max(0, ...w), lo = Math.max(0, ...w.map((x) => -x));
  const top = grid[grid.length - 1], bottom = -grid[0];
  if (scaling === "zero-point") {
    const scale = Math.f16round((hi + lo) / top);
    const z = lo / scale, down = Math.floor(z);
    const up = z - down > 0.5 || (z - down === 0.5 && down % 2 === 1);
    return { positive: scale, negative: scale, zero: scale ? down + +up : 0 };
  }
  if (scaling === "two") {
    return {
      positive: Math.f16round(hi / (top || 1)),
      negative: Math.f16round(lo / (bottom || 1)),
      zero: 0,
    };
  }
  const scale = Math.f16round(Math.max(hi, lo) / (hi >= lo ? top : bottom));
  return { positive: scale, negative: scale, zero: 0 };
}

function nearest(weight: number, { positive, negative, zero }: Scales, format: Format) {
  const scale = weight < 0 ? negative : positive;
  let best = { code: -1, value: 0, distance: Infinity };
  [...format.grid].forEach((level, i) => {
    const own = level - zero;
    const otherSide = !format.integer && own !== 0 && (own < 0) !== (weight < 0);
    const value = own * scale;
    const distance = Math.abs(weight - value);
    if (!otherSide && distance < best.distance) best = { code: format.codes[i], value, distance };
  });
  return best;
}
