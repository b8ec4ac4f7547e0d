/**
 * The recipe of each tensor of a checkpoint: one for all, or chosen by what they leave of weight error
 * on a sample of rows, under a budget of bits a weight where there is one.
 *
 * q, k and v share a recipe, and gate and up another, with the factor and the codebook that may be
 * part of it, so that the device can stack them. A budget is spent over the whole model: what counts is
 * the sum of relative errors, each tensor's times its weights.
 *
 * @module
 */

import { type Option, spend } from "./budget.ts";
import type { ChosenTensor } from "./choose_tensors.ts";
import { widen } from "./float16.ts";
import { type Format, specialFormats } from "./format.ts";
import { fitLevels } from "./lloyd.ts";
import type { Group } from "./pack.ts";
import { storedBits } from "./pack_scales.ts";
import { candidateRecipes, type Recipe, recipeError, recipeShape } from "./recipe.ts";
import { type Sample, withFactor } from "./recipe.ts";
import { F16_SCALES, type ScaleFormat, scaleFormat } from "./scale_format.ts";

/** How recipes are chosen. */
export interface RecipeOptions {
  readonly format: Format;
  readonly group: Group;
  /** A storage of scales or its name, or `4` or `8` for the codes of that many bits that lose least. */
  readonly scales?: ScaleFormat | string | 4 | 8;
  /** Whether scales are searched for. */
  readonly clip?: boolean;
  /** Levels fitted to each tensor, or the best value for the code that `fp4` and `fp3` waste on -0. */
  readonly codebook?: "lloyd" | "special";
  /** Bits a weight that all may take, in place of format, group and scales. */
  readonly bits?: number;
  readonly signal?: AbortSignal;
  /** Told which tensors are looked at. */
  readonly onSample?: (names: readonly string[]) => void;
}

/** Bits a weight that a budget may be exceeded by: the factors of rows, mostly. */
const SLACK = 0.005;

/** Weights of a sample, and of the first look at many recipes. */
const SAMPLE_WEIGHTS = 1 << 16;
const FIRST_LOOK_WEIGHTS = 1 << 13;

/** A recipe is looked at again if it loses at most this much more than the best that costs no more. */
const NEAR = 1.05;

/** Tensors that share a recipe. */
interface TensorSet {
  readonly tensors: readonly ChosenTensor[];
  readonly names: readonly string[];
}

/** The recipe of each tensor, by name. */
export async function chooseRecipes(
  chosen: ReadonlyMap<string, ChosenTensor>,
  options: RecipeOptions,
): Promise<Map<string, Recipe>> {
  const { bits, codebook } = options;
  const candidates = candidatesOf(options);
  const fixed = candidates.length === 1 && codebook !== "lloyd" &&
    candidates[0].scales.factor !== "tensor";
  if (fixed) return new Map([...chosen.keys()].map((name) => [name, candidates[0]]));
  const sets = setsOf(chosen), recipes: Recipe[][] = [], costs: Option[][] = [];
  for (const set of sets) {
    options.signal?.throwIfAborted();
    options.onSample?.(set.names);
    const sample = await sampleOf(set);
    const all = promising(set, sample, candidates).map((recipe) => withFactor(sample, recipe));
    if (codebook === "lloyd") all.push(...fittedTo(sample, all, bits === undefined));
    recipes.push(all);
    costs.push(all.map((recipe) => optionOf(set, sample, recipe)));
  }
  const weights = sum([...chosen.values()].map(({ rows, cols }) => rows * cols));
  const places = bits === undefined ? costs.map(leastLoss) : spend(costs, (bits + SLACK) * weights);
  if (places === null) refuseBudget(bits!, costs, weights);
  return new Map(
    sets.flatMap(({ names }, i) => names.map((name) => [name, recipes[i][places[i]]] as const)),
  );
}

function candidatesOf(options: RecipeOptions): Recipe[] {
  const { format, group, scales = F16_SCALES, clip = false, bits, codebook } = options;
  if (bits !== undefined) return candidateRecipes(bits);
  const storages = scales === 4
    ? ["e1m3-row", "e2m2-row"].map(scaleFormat)
    : scales === 8
    ? [scaleFormat("e4m4-row")]
    : [typeof scales === "string" ? scaleFormat(scales) : scales];
  const formats = codebook === "special" ? [...specialFormats(format), format] : [format];
  return formats.flatMap((format) => storages.map((scales) => ({ format, group, scales, clip })));
}

/** The recipes worth a closer look: those that few rows find next to the best for their cost. */
function promising(set: TensorSet, sample: Sample, recipes: readonly Recipe[]): readonly Recipe[] {
  if (recipes.length <= 4) return recipes;
  const few = someRows(sample, Math.ceil(FIRST_LOOK_WEIGHTS / sample.cols));
  const options = recipes.map((recipe) => optionOf(set, few, recipe));
  return recipes.filter((_, i) => {
    const { cost, loss } = options[i];
    return options.every((other) => other.cost > cost || loss <= NEAR * other.loss);
  });
}

/** At most `most` of the rows of a sample, evenly spread. */
function someRows({ rows, cols, w }: Sample, most: number): Sample {
  const count = Math.min(rows, most), few = new Float32Array(count * cols);
  for (let i = 0; i < count; i++) {
    const row = Math.floor((i + 0.5) * rows / count);
    few.set(w.subarray(row * cols, (row + 1) * cols), i * cols);
  }
  return { rows: count, cols, w: few };
}

/** The row with the largest weight, by which a factor of the tensor goes. */
function largestRow({ cols, w }: Sample): Float32Array {
  let at = 0;
  for (let i = 1; i < w.length; i++) if (Math.abs(w[i]) > Math.abs(w[at])) at = i;
  const start = at - at % cols;
  return w.subarray(start, start + cols);
}

/** Recipes again with levels fitted to the sample: all, or only the best of each width. */
function fittedTo(sample: Sample, recipes: Recipe[], all: boolean): Recipe[] {
  const some = all ? recipes : recipes.filter(({ group, scales }) => {
    return scales.name.startsWith("e1m3") && typeof group === "number" && group <= 32;
  });
  return some.map((recipe) =>
    withFactor(sample, { ...recipe, factor: undefined, format: fitLevels(sample, recipe) })
  );
}

/** Bits that a recipe costs for all tensors of a set, and the error that it leaves. */
function optionOf({ tensors }: TensorSet, sample: Sample, recipe: Recipe): Option {
  const weights = sum(tensors.map(({ rows, cols }) => rows * cols));
  const cost = sum(tensors.map((tensor) => storedBits(recipeShape(tensor, recipe))));
  return { cost, loss: weights * recipeError(sample, recipe) };
}

function leastLoss(options: readonly Option[]): number {
  return options.reduce((best, { loss }, i) => loss <= options[best].loss ? i : best, 0);
}

function refuseBudget(bits: number, costs: readonly Option[][], weights: number): never {
  const least = sum(costs.map((options) => Math.min(...options.map(({ cost }) => cost)))) / weights;
  throw new RangeError(
    `Cannot quantise within a budget as the bits a weight must be at least ${
      Math.ceil(1000 * (least - SLACK)) / 1000
    } here: got ${bits}`,
  );
}

/** Tensors by the matrix that they are part of on the device. */
function setsOf(chosen: ReadonlyMap<string, ChosenTensor>): TensorSet[] {
  const sets = Map.groupBy(chosen, ([name, { cols, dtype }]) => {
    const stack = name.replace(/\.[qkv]_proj\.weight$/, ".qkv")
      .replace(/\.(gate|up)_proj\.weight$/, ".gate_up");
    return `${stack} ${cols} ${dtype}`;
  });
  return [...sets.values()].map((entries) => ({
    names: entries.map(([name]) => name),
    tensors: entries.map(([, tensor]) => tensor),
  }));
}

/** Rows from all over the tensors of a set, as one matrix. */
async function sampleOf({ tensors }: TensorSet): Promise<Sample> {
  const { cols } = tensors[0], total = sum(tensors.map(({ rows }) => rows));
  const share = Math.min(1, SAMPLE_WEIGHTS / (total * cols));
  const parts: Float32Array[] = [];
  for (const { tensor, rows, dtype } of tensors) {
    const w = widen(await tensor.bytes(), dtype);
    parts.push(someRows({ rows, cols, w }, Math.max(1, Math.floor(share * rows))).w);
    if (share < 1) parts.push(largestRow({ rows, cols, w }));
  }
  const w = new Float32Array(sum(parts.map(({ length }) => length)));
  let at = 0;
  for (const part of parts) {
    w.set(part, at);
    at += part.length;
  }
  return { rows: w.length / cols, cols, w };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
