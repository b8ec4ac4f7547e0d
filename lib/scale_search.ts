/**
 * Scales that fit the weights of their groups better than their extremes do: a search over each group
 * by squared error alone, without calibration. It costs no bit.
 *
 *   two scales    each side's weights and levels are a problem of their own
 *   one scale     all weights and levels together
 *   zero-point    scale and zero-point together; here the scale, the zero-point once that is stored
 *
 * Groups take whatever scale is best; where scales are stored as codes, coded_scales.ts tries those.
 *
 * @module
 */

import { eachGroup, gather, sidesOf } from "./group_sides.ts";
import { searchScale } from "./ladder.ts";
import type { PackedShape } from "./pack.ts";
import { bestZero, searchZeroScale } from "./zero_point.ts";

/** Puts the scales that lose least in the place of the true ones: [rows, groups, 2]. */
export function clipScales(w: Float32Array, shape: PackedShape, pairs: Float64Array): void {
  const sides = sidesOf(shape), { format: { scaling, grid } } = shape;
  let pair = 0;
  eachGroup(shape, (start, end) => {
    gather(w, start, end, sides);
    for (const [i, { x, count, ladder }] of sides.entries()) {
      const reaching = pairs[pair + i];
      if (!(reaching > 0)) continue;
      pairs[pair + i] = scaling === "zero-point"
        ? searchZeroScale(x, count, grid.length - 1, reaching)
        : searchScale(x, count, ladder, reaching);
    }
    pair += 2;
  });
}

/** Puts in the zero-points that lose least with the stored scales, `unit` of them a true one. */
export function clipZeroPoints(
  w: Float32Array,
  shape: PackedShape,
  pairs: Float64Array,
  unit: number,
): void {
  const [side] = sidesOf(shape);
  let pair = 0;
  eachGroup(shape, (start, end) => {
    gather(w, start, end, [side]);
    const { zero } = bestZero(side.x, side.count, shape.format.grid.length - 1, pairs[pair] * unit);
    pairs[pair + 1] = zero;
    pair += 2;
  });
}
