/**
 * A recipe is all that says how a matrix is quantised: format, group, storage of scales, and whether
 * they are searched for. Recipes are compared on a sample of rows, by bits a weight with everything
 * that a file must hold, and by the weight error that is left.
 *
 * @module
 */

import { codeScales, factorsOf } from "./coded_scales.ts";
import { type Format, format as formatOf } from "./format.ts";
import type { Group, PackedShape } from "./pack.ts";
import { nmseOf, quantizationError } from "./quantization_error.ts";
import { groupExtremes, quantize, trueScales } from "./quantizer.ts";
import { F16_SCALES, type ScaleFormat, scaleFormat } from "./scale_format.ts";
import { storeFactor } from "./stored_scales.ts";

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
  /** The rows with the largest weights, which a factor of the tensor goes by: [some, cols]. */
  readonly widest?: Float32Array;
  /** Rows that it stands for. */
  readonly outOf?: number;
}

/** What decides the sizes of W [rows, cols] by a recipe. */
export function recipeShape(
  { rows, cols }: { rows: number; cols: number },
  { format, group, scales }: Recipe,
): PackedShape {
  return { rows, cols, format, group, ...(scales !== F16_SCALES && { scaleFormat: scales }) };
}

/** Relative mean square error that a recipe leaves on a sample; a search for codes tells it itself. */
export function recipeError(sample: Sample, recipe: Recipe): number {
  const { rows, cols, w } = sample, { clip, factor, scales } = recipe;
  if (!clip || scales === F16_SCALES) {
    return nmseOf(quantizationError(quantize(w, { rows, cols, ...recipe }), w));
  }
  const { shape, wanted } = scalesToCode(sample, recipe);
  const { error: squaredError } = codeScales(w, shape, wanted, { clip, factor, measure: true });
  let squaredWeights = 0;
  for (const weight of w) squaredWeights += weight * weight;
  return nmseOf({ squaredError, squaredWeights });
}

/** The recipe with the factor that its tensors are to share, where its scales have one. */
export function withFactor(sample: Sample, recipe: Recipe): Recipe {
  if (recipe.scales.factor !== "tensor") return recipe;
  const { cols, outOf, widest = new Float32Array() } = sample;
  const w = new Float32Array(sample.w.length + widest.length);
  w.set(sample.w);
  w.set(widest, sample.w.length);
  const { shape, wanted } = scalesToCode({ rows: w.length / cols, cols, w }, recipe);
  const stored = factorsOf(w, shape, wanted, { ...recipe, outOf }).subarray(0, 1);
  const { scaleExponent } = storeFactor(stored);
  return { ...recipe, factor: stored[0] * 2 ** -scaleExponent };
}

function scalesToCode(sample: Sample, recipe: Recipe) {
  const shape = recipeShape(sample, recipe);
  return { shape, wanted: trueScales(groupExtremes(sample.w, shape, ""), recipe.format) };
}

/** Storages that a search under a budget tries. */
const STORAGES = ["e1m3-row", "e2m2-row", "e1m3-tensor", "e2m2-tensor"];

/**
 * Recipes for a budget of bits a weight: Lloyd books of 3 and 4 bits on groups of 16 to 128. Those that
 * are a bit above or below the budget, or below what any of them takes, are left out; with `cheaper`
 * none below it, as rows that fill no unit take more bits than their recipe says.
 */
export function candidateRecipes(bits: number, { cheaper = false } = {}): Recipe[] {
  const families = (group: number) => [`lloyd4g${group}-asym`, "lloyd3-asym"];
  const all = [32, 16, 64, 128].flatMap((group) =>
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
  return all.filter((recipe) => {
    const above = bitsOf(recipe) - wanted;
    return above < 0.6 && (cheaper || above > -0.6);
  });
}
