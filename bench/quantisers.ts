/**
 * llama.cpp's quantisers and ours in one shape, so that both are measured by the same lines: from
 * matrices W to what is stored, and back to W'.
 *
 *   error   sum((w' - w)^2) / sum(w^2), over all matrices together
 *   bits    all that is stored, by weight: blocks there; codes, scales, factors and codebooks here
 *   MB/s    of bf16, by processor time from f32 to what is stored; ours with the search for recipes
 *
 * Neither side sees a text or an importance matrix. One matrix is in memory at a time.
 *
 * @module
 */
import process from "node:process";
import { chooseRecipes } from "../lib/choose_recipes.ts";
import type { ChosenTensor } from "../lib/choose_tensors.ts";
import { widen } from "../lib/float16.ts";
import { format } from "../lib/format.ts";
import { bitsPerWeight } from "../lib/pack.ts";
import { nmseOf } from "../lib/quantization_error.ts";
import { dequantize, quantize } from "../lib/quantizer.ts";
import type { Ggml, GgmlName } from "./llama_cpp.ts";

/** Matrices by name. */
export type Matrices = ReadonlyMap<string, ChosenTensor>;

/** One matrix W [rows, cols], read. */
export interface ReadMatrix {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly w: Float32Array<ArrayBuffer>;
}

/** What is stored of a matrix: its bits, and W' again. */
export interface Stored {
  readonly bits: number;
  values(): Float32Array<ArrayBuffer>;
}

/** Something that quantises: `prepare` looks at all matrices, then they come one by one. */
export interface Quantiser {
  readonly name: string;
  prepare(matrices: Matrices): Promise<(matrix: ReadMatrix) => Stored>;
}

/** A type of llama.cpp's. */
export function theirs(ggml: Ggml, type: GgmlName): Quantiser {
  return {
    name: `llama.cpp ${type}`,
    prepare: () =>
      Promise.resolve(({ w, name, rows, cols }) => {
        const shape = { rows, cols, type, name };
        const blocks = ggml.quantize(w, shape);
        return { bits: 8 * blocks.length, values: () => ggml.dequantize(blocks, shape) };
      }),
  };
}

/** What `afpq quantize` does: a format in groups of 128, or a search under a budget of bits. */
export function ours(name: string, way: string | { bits: number }): Quantiser {
  return {
    name: `afpq ${name}`,
    async prepare(matrices) {
      const [named, budget] = typeof way === "string" ? [way, {}] : ["nf4-asym", way];
      const options = { format: format(named), group: 128, ...budget } as const;
      const recipes = await chooseRecipes(matrices, options);
      return ({ w, name, rows, cols }) => {
        const q = quantize(w, { rows, cols, name, ...recipes.get(name)! });
        return { bits: bitsPerWeight(q) * w.length, values: () => dequantize(q) };
      };
    },
  };
}

/** What a quantiser came to over all matrices. */
export interface Measured {
  readonly name: string;
  readonly bitsPerWeight: number;
  readonly error: number;
  readonly megabytesPerSecond: number;
}

/** Quantises all matrices; `onMatrix` is given each W' as it comes. */
export async function measure(
  quantiser: Quantiser,
  matrices: Matrices,
  onMatrix: (matrix: ReadMatrix, values: Float32Array<ArrayBuffer>) => void = () => {},
): Promise<Measured> {
  const sums = { bits: 0, weights: 0, squaredError: 0, squaredWeights: 0 };
  let mark = process.cpuUsage();
  const quantise = await quantiser.prepare(matrices);
  let busy = microseconds(mark);
  for (const [name, { tensor, rows, cols, dtype }] of matrices) {
    const matrix = { name, rows, cols, w: widen(await tensor.bytes(), dtype) };
    mark = process.cpuUsage();
    const stored = quantise(matrix);
    busy += microseconds(mark);
    const values = stored.values();
    addErrors(sums, matrix.w, values);
    sums.bits += stored.bits;
    sums.weights += values.length;
    onMatrix(matrix, values);
  }
  return {
    name: quantiser.name,
    bitsPerWeight: sums.bits / sums.weights,
    error: nmseOf(sums),
    megabytesPerSecond: 2 * sums.weights / busy,
  };
}

/** Processor time since then. */
function microseconds(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return user + system;
}

function addErrors(
  sums: { squaredError: number; squaredWeights: number },
  w: Float32Array,
  values: Float32Array,
): void {
  for (let i = 0; i < w.length; i++) {
    sums.squaredError += (values[i] - w[i]) ** 2;
    sums.squaredWeights += w[i] ** 2;
  }
}
