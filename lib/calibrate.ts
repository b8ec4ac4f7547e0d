/**
 * Quantises the linears of a network block by block, in the order in which they run, each from the
 * inputs that the already quantised ones before it give (true sequential).
 *
 *   hidden = embedding of all windows
 *   for each block: its weights dense, from the checkpoint
 *     awq     second moments of all four linears' inputs -> scales, folded into the block
 *     linears second moments of one linear's inputs -> its matrices quantised, put in their place;
 *             fitted codebooks are fitted again, by where these inputs are felt
 *     hidden  = what the quantised block makes of it; the block goes into the store
 *
 * In memory are one block, the moments of one linear (of four while scales are searched) and the
 * windows' hidden states. Blocks that the store has already are run, not quantised again.
 *
 * @module
 */

import { awqScales, magnitudesOf, someRows } from "./awq.ts";
import type { HostLayer, InputMoments, StartBlock } from "./block_inputs.ts";
import type { BlockStore, StoredBlock } from "./block_store.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { CpuWeight } from "./cpu_ops.ts";
import type { FloatDtype } from "./float16.ts";
import { widen } from "./float16.ts";
import { foldScales, sharedMagnitudes } from "./folding.ts";
import type { Format } from "./format.ts";
import { layerError, relativeError } from "./layer_error.ts";
import { hostKeeper } from "./llama_cpu.ts";
import { denseRow, type Matrix } from "./linear_reference.ts";
import { fitLevels } from "./lloyd.ts";
import { weightReader } from "./model.ts";
import type { ModelConfig } from "./model_config.ts";
import { type LayerWeights, type LinearName, linearNames } from "./ops.ts";
import { embed } from "./pointwise_reference.ts";
import type { QuantizationError } from "./quantization_error.ts";
import { type LinearOptions, quantizeLinear } from "./quantize_linear.ts";
import { dequantize, quantize } from "./quantizer.ts";
import type { Recipe } from "./recipe.ts";
import type { Symmetric } from "./triangular.ts";

/** What became of one matrix. */
export interface MatrixReport {
  readonly name: string;
  /** Of the weights, folded where they were. */
  readonly error: QuantizationError;
  /** Share of the outputs that is lost, and what plain rounding would have lost. */
  readonly outputError: number;
  readonly plainOutputError: number;
  readonly saturated: number;
}

/** A network whose linears are to be quantised, and by what. */
export interface CalibrationJob extends LinearOptions {
  readonly checkpoint: Checkpoint;
  readonly config: ModelConfig;
  /** Names of the matrices to quantise. */
  readonly chosen: ReadonlySet<string>;
  /** What each of them is quantised as, where it is not `format` and `group` for all. */
  readonly recipes?: ReadonlyMap<string, Recipe>;
  /** Whether the recipes' codebooks were fitted, to weights alone. */
  readonly codebook?: "lloyd" | "special";
  /** Token ids of the calibration text. */
  readonly windows: readonly Uint32Array[];
  readonly start: StartBlock;
  readonly store: BlockStore<MatrixReport[]>;
  readonly signal?: AbortSignal;
  /** Told how many linears are done. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

/** Quantises all blocks that the store does not have yet, into it. */
export async function calibrate(job: CalibrationJob): Promise<void> {
  const { checkpoint, config, store, windows, start } = job;
  const read = weightReader(checkpoint, config, hostKeeper);
  const { parts: [table] } = await read.embedding();
  let hidden = windows.map((ids): Float32Array => embed(table, ids));
  for (let at = 0; at < config.layers; at++) {
    job.signal?.throwIfAborted();
    const layer = layerInF32(await read.layer(at));
    if (at < store.count()) {
      replaceParts(layer, at, await store.read(at));
      hidden = await (await start(layer, hidden)).finish();
      continue;
    }
    const plain = plainLayer(layer, job);
    const vectors = job.method.includes("awq")
      ? await foldBlock(job, at, layer, plain, hidden)
      : [];
    const block = await start(layer, hidden);
    const results = new Map();
    for (const linear of linearNames) {
      tell(job, at, linear);
      const moments = await block.moments(linear);
      quantizeParts(job, layer, plain, linear, moments, results);
    }
    hidden = await block.finish();
    const report = [...results.values()].map(({ report }) => report);
    const matrices = new Map([...results].map(([name, { matrix }]) => [name, matrix]));
    await store.add({ matrices, vectors: new Map(vectors), report });
  }
}

function tell(
  { config, onProgress, signal }: CalibrationJob,
  at: number,
  linear: LinearName,
): void {
  signal?.throwIfAborted();
  const done = at * linearNames.length + linearNames.indexOf(linear);
  onProgress?.(done, linearNames.length * config.layers, `layers.${at} ${linear}`);
}

/** Quantises the chosen matrices of one linear, in their place. */
function quantizeParts(
  job: CalibrationJob,
  layer: HostLayer,
  plain: HostLayer,
  linear: LinearName,
  { h }: InputMoments,
  results: Map<string, { matrix: Matrix; report: MatrixReport }>,
): void {
  const levels = feltLevels(job, layer[linear].parts, h);
  const parts = layer[linear].parts.map((part, i) => {
    if (!job.chosen.has(part.name)) return part;
    const { name, rows, cols } = part;
    const w = weightsOf(part);
    const recipe = recipeOf(job, name);
    const { matrix, ...report } = quantizeLinear({ name, rows, cols, w }, h, {
      ...job,
      ...recipe,
      format: levels ?? recipe.format,
    });
    const plainOutputError = relativeError(layerError(weightsOf(plain[linear].parts[i]), w, h));
    results.set(name, { matrix, report: { name, ...report, plainOutputError } });
    return matrix;
  });
  layer[linear] = { ...layer[linear], parts };
}

/** The codebook that the parts of a linear share, fitted where inputs are felt; null if none was. */
function feltLevels(job: CalibrationJob, parts: readonly Matrix[], h: Symmetric): Format | null {
  const own = parts.filter(({ name }) => job.chosen.has(name));
  const recipe = own.length > 0 ? job.recipes?.get(own[0].name) : undefined;
  if (job.codebook !== "lloyd" || !recipe?.format.name.startsWith("custom:")) return null;
  const { cols } = own[0], samples = own.map((part) => someRows(weightsOf(part), cols));
  const w = new Float32Array(samples.reduce((sum, { length }) => sum + length, 0));
  samples.reduce((at, sample) => (w.set(sample, at), at + sample.length), 0);
  const importance = Float64Array.from({ length: cols }, (_, j) => h[j * cols + j]);
  return fitLevels({ rows: w.length / cols, cols, w }, recipe, importance);
}

/** What a matrix is quantised as. */
function recipeOf(
  { recipes, format, group }: CalibrationJob,
  name: string,
): Pick<Recipe, "format" | "group"> & Partial<Recipe> {
  return recipes?.get(name) ?? { format, group };
}

/** The layer as plain rounding would have it, for comparison. */
function plainLayer(layer: HostLayer, job: CalibrationJob): HostLayer {
  const plain = { ...layer };
  for (const linear of linearNames) {
    const { parts, bias } = layer[linear];
    const rounded = parts.map((part) => {
      if (!job.chosen.has(part.name)) return part;
      const { rows, cols } = part;
      const q = quantize(weightsOf(part), { rows, cols, ...recipeOf(job, part.name), clip: false });
      return denseMatrix(part, dequantize(q));
    });
    plain[linear] = { parts: rounded, bias: bias && bias.slice() };
  }
  return plain;
}

/**
 * Searches scales for the inputs of every linear that has a place to fold them into, and folds them
 * into the layer, and into the plain one alike. Gives the vectors that changed.
 */
async function foldBlock(
  job: CalibrationJob,
  at: number,
  layer: HostLayer,
  plain: HostLayer,
  hidden: readonly Float32Array[],
): Promise<[string, Float32Array][]> {
  const { checkpoint, config } = job;
  const before = { ...layer };
  const block = await job.start({ ...layer }, hidden);
  for (const linear of linearNames) {
    tell(job, at, linear);
    const { h, cols } = await block.moments(linear);
    if (!canFold(layer, linear, job.chosen)) continue;
    const magnitudes = sharedMagnitudes(magnitudesOf(h, cols), linear, config);
    const matrices = layer[linear].parts.map(weightsOf);
    const { format, group } = recipeOf(job, layer[linear].parts[0].name);
    const { scales } = awqScales(matrices, h, { cols, format, group, magnitudes });
    const site = { config, dtype: vectorDtype(checkpoint, layer, linear, at) };
    foldScales(plain, linear, foldScales(layer, linear, scales, site), site);
  }
  return changedVectors(before, layer, at);
}

/** Whether all matrices that would change are to be quantised. */
function canFold(layer: HostLayer, linear: LinearName, chosen: ReadonlySet<string>): boolean {
  const producers = { qkv: [], gateUp: [], output: layer.qkv.parts, down: layer.gateUp.parts };
  return [...layer[linear].parts, ...producers[linear].slice(-1)].every(({ name }) =>
    chosen.has(name)
  );
}

/** The dtype of what scales of a linear are folded into beside weights: a norm's gains, or a bias if there is one. */
function vectorDtype(
  { tensors }: Checkpoint,
  layer: HostLayer,
  linear: LinearName,
  at: number,
): FloatDtype {
  const name = {
    qkv: `model.layers.${at}.input_layernorm.weight`,
    gateUp: `model.layers.${at}.post_attention_layernorm.weight`,
    output: biasName(layer.qkv.parts.at(-1)!.name),
    down: biasName(layer.gateUp.parts.at(-1)!.name),
  }[linear];
  return (tensors.get(name)?.dtype ?? "F32") as FloatDtype;
}

/** Gains and biases that are no longer those of before, by tensor name. */
function changedVectors(
  before: HostLayer,
  after: HostLayer,
  at: number,
): [string, Float32Array][] {
  const changed: [string, Float32Array][] = [];
  const norms = { attentionNorm: "input_layernorm", mlpNorm: "post_attention_layernorm" } as const;
  for (const [key, name] of Object.entries(norms) as ["attentionNorm" | "mlpNorm", string][]) {
    if (after[key] !== before[key]) changed.push([`model.layers.${at}.${name}.weight`, after[key]]);
  }
  for (const linear of ["qkv", "gateUp"] as const) {
    const { parts, bias } = after[linear];
    if (!bias || bias === before[linear].bias) continue;
    const last = parts[parts.length - 1];
    changed.push([biasName(last.name), bias.slice(bias.length - last.rows)]);
  }
  return changed;
}

function biasName(name: string): string {
  return name.replace(/\.weight$/, ".bias");
}

/** Puts what the store has into a layer as it was read. */
function replaceParts(
  layer: HostLayer,
  at: number,
  { matrices, vectors }: StoredBlock<MatrixReport[]>,
): void {
  for (const linear of linearNames) {
    const { parts, bias } = layer[linear];
    const changed = vectors.get(biasName(parts[parts.length - 1].name));
    if (changed) bias!.set(changed, bias!.length - changed.length);
    layer[linear] = { parts: parts.map((part) => matrices.get(part.name) ?? part), bias };
  }
  const norm = (name: string, own: Float32Array) =>
    vectors.get(`model.layers.${at}.${name}.weight`) ?? own;
  layer.attentionNorm = norm("input_layernorm", layer.attentionNorm);
  layer.mlpNorm = norm("post_attention_layernorm", layer.mlpNorm);
}

/** W [rows, cols] as f32. */
export function weightsOf(matrix: Matrix): Float32Array {
  if ("codes" in matrix) return dequantize(matrix);
  if (matrix.dtype === "F32") return widen(matrix.bytes, "F32");
  const w = new Float32Array(matrix.rows * matrix.cols);
  for (let row = 0; row < matrix.rows; row++) w.set(denseRow(matrix, row), row * matrix.cols);
  return w;
}

/** A layer whose dense matrices are f32, to be changed. */
export function layerInF32(layer: LayerWeights<CpuWeight, Float32Array>): HostLayer {
  const wide: HostLayer = { ...layer };
  for (const linear of linearNames) {
    const parts = layer[linear].parts.map((part) =>
      "codes" in part ? part : denseMatrix(part, weightsOf(part))
    );
    wide[linear] = { ...layer[linear], parts };
  }
  return wide;
}

/** W [rows, cols] in place of a matrix of that shape. */
export function denseMatrix({ name, rows, cols }: Matrix, w: Float32Array): Matrix {
  const bytes = new Uint8Array(w.buffer as ArrayBuffer, w.byteOffset, w.byteLength);
  return { name, rows, cols, dtype: "F32", bytes };
}
