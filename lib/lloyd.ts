/**
 * A codebook fitted to the weights it is for (Lloyd's iteration): scales and codes by the levels, then
 * each level to where its weights lose least, some rounds of both.
 *
 *   level = sum(d w s) / sum(d s^2)   over the weights of its code, s their scale, d how much the
 *                                     error of their column counts: as much as any unless told
 *
 * 0 stays 0 and an end that is 1 stays 1, so that levels and scales do not drift together. The levels
 * are f16, 16 bits each in a file: the format is a `custom:` one.
 *
 * @module
 */

import { f16Bits, f16Value } from "./float16.ts";
import { customFormat, type Format } from "./format.ts";
import { groupScales, quantize, rowCodes } from "./quantizer.ts";
import type { Recipe, Sample } from "./recipe.ts";

const ROUNDS = 6;

/**
 * A format like the recipe's with levels fitted to a sample; the recipe's own where integers count from
 * a zero-point.
 *
 * @example Usage
 * ```ts
 * import { format } from "./format.ts";
 * import { fitLevels } from "./lloyd.ts";
 * import { F16_SCALES } from "./scale_format.ts";
 * import assert from "node:assert/strict";
 *
 * const w = Float32Array.from({ length: 64 }, (_, i) => [1, 0.5, -0.5, -1][i % 4]);
 * const recipe = { format: format("nf3-asym"), group: 32, scales: F16_SCALES, clip: false };
 * const fitted = fitLevels({ rows: 1, cols: 64, w }, recipe);
 * assert.ok(fitted.grid.includes(0.5) && fitted.grid.includes(-0.5));
 * ```
 */
export function fitLevels(
  sample: Sample,
  recipe: Recipe,
  importance: ArrayLike<number> | null = null,
): Format {
  let { format } = recipe;
  if (format.scaling === "zero-point") return format;
  const symmetric = format.scaling === "one";
  const reach = Math.max(...format.grid.map(Math.abs));
  let grid = [...format.grid].map((level) => level / reach);
  for (let round = 0; round < ROUNDS; round++) {
    const levels = grid.map((level) => f16Value(f16Bits(level)));
    if (new Set(levels).size < levels.length) return format; // two have met
    format = customFormat(levels, { symmetric });
    if (round + 1 < ROUNDS) grid = fittedLevels(sample, { ...recipe, format }, importance);
  }
  return format;
}

/** Levels of a table that lose least with the scales and codes that they give. */
function fittedLevels(
  { rows, cols, w }: Sample,
  recipe: Recipe,
  importance: ArrayLike<number> | null,
): number[] {
  const q = quantize(w, { rows, cols, ...recipe });
  const { grid } = recipe.format;
  const products = new Float64Array(grid.length), squares = new Float64Array(grid.length);
  const width = q.group === "row" ? cols : q.group;
  for (let row = 0; row < rows; row++) {
    const codes = rowCodes(q, row);
    for (let start = 0, group = 0; start < cols; start += width, group++) {
      const { positive, negative } = groupScales(q, row, group);
      for (let column = start; column < Math.min(start + width, cols); column++) {
        const code = codes[column], scale = grid[code] < 0 ? negative : positive;
        const counted = importance ? importance[column] * scale : scale;
        products[code] += counted * w[row * cols + column];
        squares[code] += counted * scale;
      }
    }
  }
  return Array.from(grid, (level, code) => {
    const free = level !== 0 && Math.abs(level) !== 1 && squares[code] > 0;
    const fitted = products[code] / squares[code];
    return free && fitted * level > 0 && Math.abs(fitted) < 1 ? fitted : level;
  });
}
