/**
 * A recipe is all that says how a matrix is quantised: format, group, storage of scales, and whether
 * they are searched for. Recipes are compared on a sample of rows, by bits a weight with everything
 * that a file must hold, and by the weight error that is left.
 *
 * @module
 */

import { type Format, format as formatOf } from "./format.ts";
import type { Group, PackedShape } from "./pack.ts";
import { nmseOf, quantizationError } from "./quantization_error.ts";
import { quantize } from "./quantizer.ts";
import { F16_SCALES, type ScaleFormat, scaleFormat } from "./scale_format.ts";

/** How a matrix is quantised. */
export interface Recipe {
  readonly format: Format;
  readonly group: Group;
  readonly scales: ScaleFormat;
  readonly clip: boolean;
  /** The true factor of coded scales that tensors are to share. */
  readonly factor?: number;
}

/** Rows of W [rows, cols] to compare recipes on. */
export interface Sample {
  readonly rows: number;
  readonly cols: number;
  readonly w: Float32Array;
}

/** What decides the sizes of W [rows, cols] by a recipe. */
export function recipeShape(
  { rows, cols }: { rows: number; cols: number },
  { format, group, scales }: Recipe,
): PackedShape {
  return { rows, cols, format, group, ...(scales !== F16_SCALES && { scaleFormat: scales }) };
}

/** Relative mean square error that a recipe leaves on a sample. */
export function recipeError({ rows, cols, w }: Sample, recipe: Recipe): number {
  return nmseOf(quantizationError(quantize(w, { rows, cols, ...recipe }), w));
}

/** The recipe with the factor that its tensors are to share, where its scales have one. */
export function withFactor({ rows, cols, w }: Sample, recipe: Recipe): Recipe {
  if (recipe.scales.factor !== "tensor") return recipe;
  const { factor = 1, scaleExponent } = quantize(w, { rows, cols, ...recipe });
  return { ...recipe, factor: factor * 2 ** -scaleExponent };
}

/** Storages that a search under a budget tries. */
const STORAGES = ["e1m3-row", "e2m2-row", "e1m3-tensor", "e2m2-tensor", "e4m4-tensor"];

/**
 * Recipes for a budget of bits a weight: Lloyd books of 3 and 4 bits on groups of 16 to 128. Those that
 * are a bit above or below the budget, or below what any of them takes, are left out.
 */
export function candidateRecipes(bits: number): Recipe[] {
  const families = (group: number) => [`lloyd4g${group}-asym`, "lloyd3-asym"];
  const all = [16, 32, 64, 128].flatMap((group) =>
    families(group).flatMap((name) =>
      STORAGES.map((storage) => ({
        format: formatOf(name),
        group,
        scales: scaleFormat(storage),
        clip: true,
      }))
    )
  );
  const bitsOf = ({ format, group, scales }: Recipe) =>
    format.bits + 2 * scales.bits / Number(group);
  const most = Math.max(...all.map(bitsOf)), least = Math.min(...all.map(bitsOf));
  const wanted = Math.max(least, Math.min(bits, most));
  return all.filter((recipe) => Math.abs(bitsOf(recipe) - wanted) < 1);
}
