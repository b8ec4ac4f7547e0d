/**
 * The recipe of each tensor of a checkpoint: one for all, or chosen by what they leave of weight error
 * on a sample of rows, under a budget of bits a weight where there is one.
 *
 * q, k and v share a recipe, and gate and up another, with the factor and the codebook that may be
 * part of it, so that the device can stack them. A budget is spent over the whole model: what counts is
 * the sum of relative errors, each tensor's times the root of its weights. By its weights alone a small
 * one would count for too little: all that v gives goes through it, few rows or many. On three small
 * models at six budgets each the root left 3 to 8 % less KL divergence from dense, on average.
 *
 * @module
 */

import { type Option, spend } from "./budget.ts";
import type { ChosenTensor } from "./choose_tensors.ts";
import { type FloatDtype, widen } from "./float16.ts";
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

/** Weights and rows at least of a sample, and of the first look at many recipes. */
const SAMPLE = { weights: 1 << 14, rows: 8 };
const FIRST_LOOK = { weights: 1 << 12, rows: 3 };

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
  const sets = setsOf(chosen);
  const weights = sum([...chosen.values()].map(({ rows, cols }) => rows * cols));
  let { recipes, costs } = await priced(sets, candidates, options);
  let places = bits === undefined ? costs.map(leastLoss) : spend(costs, (bits + SLACK) * weights);
  if (places === null) {
    ({ recipes, costs } = await priced(sets, candidateRecipes(bits!, { cheaper: true }), options));
    places = spend(costs, (bits! + SLACK) * weights) ?? refuseBudget(bits!, costs, weights);
  }
  return new Map(
    sets.flatMap(({ names }, i) => names.map((name) => [name, recipes[i][places[i]]] as const)),
  );
}

/** The recipes of each set that are worth it, and what they cost and lose. */
async function priced(
  sets: readonly TensorSet[],
  candidates: readonly Recipe[],
  { bits, codebook, signal, onSample }: RecipeOptions,
): Promise<{ recipes: Recipe[][]; costs: Option[][] }> {
  const recipes: Recipe[][] = [], costs: Option[][] = [];
  for (const set of sets) {
    signal?.throwIfAborted();
    onSample?.(set.names);
    const sample = await sampleOf(set);
    const all = [...promising(set, sample, sharingFactors(sample, candidates))];
    if (codebook === "lloyd") all.push(...fittedTo(sample, all, bits === undefined));
    recipes.push(all);
    costs.push(all.map((recipe) => optionOf(set, sample, recipe)));
  }
  return { recipes, costs };
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

/** The recipes with their factors: one for each storage, as its largest scale is that of any group. */
function sharingFactors(sample: Sample, recipes: readonly Recipe[]): Recipe[] {
  const factors = new Map<string, number | undefined>();
  return recipes.map((recipe) => {
    const key = `${recipe.scales.name} ${recipe.format.bits}`;
    if (!factors.has(key)) factors.set(key, withFactor(sample, recipe).factor);
    const factor = factors.get(key);
    return factor === undefined ? recipe : { ...recipe, factor };
  });
}

/** The recipes worth a closer look: those that few rows find next to the best for their cost. */
function promising(set: TensorSet, sample: Sample, recipes: readonly Recipe[]): readonly Recipe[] {
  if (recipes.length <= 4) return recipes;
  const few = someRows(sample, rowsFor(FIRST_LOOK, sample.cols));
  const options = recipes.map((recipe) => optionOf(set, few, recipe));
  return recipes.filter((_, i) => {
    const { cost, loss } = options[i];
    return options.every((other) => other.cost > cost || loss <= NEAR * other.loss);
  });
}

function rowsFor({ weights, rows }: typeof SAMPLE, cols: number): number {
  return Math.max(rows, Math.ceil(weights / cols));
}

/** At most `most` of the rows of a sample, evenly spread. */
function someRows({ rows, cols, w }: Sample, most: number): Sample {
  const some = rowsOf(w, { rows, width: cols }, evenly(rows, most));
  return { rows: some.length / cols, cols, w: some };
}

/** At most `most` of the numbers from 0 on to `count`, evenly spread. */
function evenly(count: number, most: number): number[] {
  const length = Math.min(count, most);
  return Array.from({ length }, (_, i) => Math.floor((i + 0.5) * count / length));
}

/** Some of the rows of numbers or bytes, one after the other. */
function rowsOf<T extends Float32Array | Uint8Array>(
  all: T,
  { rows, width }: { rows: number; width: number },
  chosen: readonly number[],
): T {
  const some = all.slice(0, Math.min(rows, chosen.length) * width) as T;
  for (const [i, row] of chosen.entries()) {
    some.set(all.subarray(row * width, (row + 1) * width), i * width);
  }
  return some;
}

/** The row with the largest weight, by the bits of sizes, which go up with them. */
function largestRow(bytes: Uint8Array<ArrayBuffer>, cols: number, dtype: FloatDtype): number {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const { buffer, byteOffset, byteLength } = aligned;
  const words = dtype === "F32"
    ? new Uint32Array(buffer, byteOffset, byteLength / 4)
    : new Uint16Array(buffer, byteOffset, byteLength / 2);
  const mask = dtype === "F32" ? 0x7fffffff : 0x7fff;
  let at = 0, most = 0;
  for (let i = 0; i < words.length; i++) {
    const size = words[i] & mask;
    if (size > most) {
      most = size;
      at = i;
    }
  }
  return Math.floor(at / cols);
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
  const share = sum(tensors.map(({ rows, cols }) => Math.sqrt(rows * cols)));
  const cost = sum(tensors.map((tensor) => storedBits(recipeShape(tensor, recipe))));
  return { cost, loss: share * recipeError(sample, recipe) };
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
  const { cols } = tensors[0], outOf = sum(tensors.map(({ rows }) => rows));
  const share = rowsFor(SAMPLE, cols) / outOf;
  const some: Float32Array[] = [], widest: Float32Array[] = [];
  for (const { tensor, rows, dtype } of tensors) {
    const bytes = await tensor.bytes(), shape = { rows, width: bytes.length / rows };
    const widened = (chosen: number[]) => widen(rowsOf(bytes, shape, chosen), dtype);
    some.push(widened(evenly(rows, Math.ceil(share * rows))));
    widest.push(widened([largestRow(bytes, cols, dtype)]));
  }
  const w = joined(some);
  return { rows: w.length / cols, cols, w, widest: joined(widest), outOf };
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(sum(parts.map(({ length }) => length)));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
