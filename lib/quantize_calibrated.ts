/**
 * Quantises a checkpoint by a method that wants to see inputs: a calibration text runs through the
 * network, block by block, while it is quantised; then the checkpoint is written as ever.
 *
 *   text -> windows of token ids -> blocks in a store beside OUT (calibrate.ts, block_store.ts)
 *        -> quantizeCheckpoint(), which finds its matrices and changed vectors there
 *
 * The store is kept where a run is stopped, and the same model, text, options and kind of device go
 * on from it; it is gone when OUT is there. On the TypeScript backend the same bytes come out on
 * every runtime.
 *
 * @module
 */

import { type BlockStore, openBlockStore } from "./block_store.ts";
import { blocksOnCpu } from "./block_inputs.ts";
import { blocksOnGpu } from "./block_inputs_gpu.ts";
import { calibrate, type MatrixReport } from "./calibrate.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { chooseRecipes } from "./choose_recipes.ts";
import { chooseTensors, refuseQuantized } from "./choose_tensors.ts";
import type { Device } from "./device.ts";
import { type FloatDtype, narrow } from "./float16.ts";
import { type Format, format as formatOf } from "./format.ts";
import { fileChunks, hashChunks, sha256 } from "./hashed_file.ts";
import { type ModelConfig, openModelConfig } from "./model_config.ts";
import { expectGroup, LAYOUT_VERSION } from "./pack.ts";
import {
  type PreparedTensors,
  quantizeCheckpoint,
  type QuantizeCheckpointOptions,
  type QuantizeSummary,
} from "./quantize_checkpoint.ts";
import type { Method } from "./quantize_linear.ts";
import { quote } from "./strict_json.ts";
import { textWindows } from "./text_windows.ts";
import { openTokenizer, requireTokenizerFor } from "./tokenizer.ts";

/** How to quantise with calibration. */
export interface CalibratedOptions extends Omit<QuantizeCheckpointOptions, "prepared"> {
  readonly method: Exclude<Method, "rtn">;
  /** The text itself. */
  readonly text: string;
  /** What the text is called in messages. */
  readonly textName?: string;
  readonly device: Device;
  /** Tokens a window; the model's own context, at most 2048, unless told. */
  readonly context?: number;
  /** The most windows, 128 unless told. */
  readonly windows?: number;
  /** Of GPTQ: visit columns by how much they are felt. */
  readonly actOrder?: boolean;
  /** Told how many linears are done. */
  readonly onLinear?: (done: number, total: number, what: string) => void;
}

/** What was done, and what it did to the outputs of the calibration text. */
export interface CalibratedSummary extends QuantizeSummary {
  readonly tokens: number;
  readonly reports: readonly MatrixReport[];
}

/** Most windows unless told. */
const WINDOWS = 128;
/** Longest window unless told. */
const CONTEXT = 2048;
/** Names of what calibration sees; a head is rounded plainly. */
const IN_BLOCK = /^model\.layers\.\d+\./;

/**
 * Quantises a Hugging Face folder into the folder `out`, with a calibration text.
 *
 * @throws {RangeError} if the text is shorter than a window, or an option or weight is wrong
 * @throws {Error} if the model cannot be run, has no tokenizer, or `out` may not be written
 */
export async function quantizeCalibrated(
  model: string,
  out: string,
  options: CalibratedOptions,
): Promise<CalibratedSummary> {
  const start = performance.now();
  const job = await prepareJob(model, options);
  const { checkpoint, config, chosen, recipes, format, group, windows } = job;
  const tokens = windows.reduce((sum, { length }) => sum + length, 0);
  const nothing = { matrices: new Map(), vectors: new Map(), recipes };
  const dry = { ...options, prepared: nothing, dryRun: true };
  const planned = await quantizeCheckpoint(model, out, dry); // refuses what could not be written
  if (options.dryRun) return { ...planned, tokens, reports: [] };
  const store = await openBlockStore<MatrixReport[]>(out, await keyOf(job, options), options.log);
  try {
    await calibrate({
      checkpoint,
      config,
      format,
      group,
      method: options.method,
      actOrder: options.actOrder,
      chosen: new Set(chosen.keys()),
      recipes,
      codebook: options.codebook,
      windows,
      store,
      start: options.device.gpu
        ? blocksOnGpu(options.device, config, windows[0].length)
        : blocksOnCpu(config, windows[0].length),
      signal: options.signal,
      onProgress: options.onLinear,
    });
    const { prepared, reports } = await preparedFrom(job, store);
    const summary = await quantizeCheckpoint(model, out, { ...options, format, group, prepared });
    await store.remove();
    return { ...summary, tokens, reports, seconds: (performance.now() - start) / 1000 };
  } catch (error) {
    await keepOrRemove(store, config, options);
    throw error;
  }
}

/** Everything that is known before a block is read, checked. */
async function prepareJob(model: string, options: CalibratedOptions) {
  const { format: name = "nf4-asym", group = 128, textName = "the calibration text" } = options;
  const format: Format = typeof name === "string" ? formatOf(name) : name;
  expectGroup(group);
  const checkpoint = await openCheckpoint(model);
  refuseQuantized(checkpoint);
  const config = await openModelConfig(checkpoint);
  const chosen = chooseTensors(checkpoint, options);
  if (![...chosen.keys()].some((name) => IN_BLOCK.test(name))) {
    throw new RangeError(
      `Cannot calibrate ${quote(model)} as a linear of a block must be chosen: got ${
        [...chosen.keys()].slice(0, 3).map((name) => quote(name)).join(", ")
      }`,
    );
  }
  const tokenizer = await openTokenizer(checkpoint.folder);
  requireTokenizerFor(tokenizer, config.vocab);
  const { context = Math.min(config.context, CONTEXT), windows: most = WINDOWS } = options;
  if (context > config.context) {
    throw new RangeError(
      `Cannot calibrate ${quote(model)} as windows must fit its context of ${config.context} ` +
        `tokens: got ${context}`,
    );
  }
  const length = tokenizer.encode(options.text).length;
  if (length < context) {
    throw new RangeError(
      `Cannot calibrate with ${quote(textName)} as it must fill a window of ${context} tokens: ` +
        `got ${length}`,
    );
  }
  const { windows } = textWindows(tokenizer, options.text, { context, windows: most });
  const bad = windows.flatMap((ids) => [...ids]).find((id) => id >= config.vocab);
  if (bad !== undefined) {
    throw new RangeError(
      `Cannot calibrate with ${quote(textName)} as its ids must be below the model's vocabulary, ` +
        `${config.vocab}: got ${bad}, the tokenizer may be another model's`,
    );
  }
  const recipes = await chooseRecipes(chosen, { ...options, format, group });
  return { checkpoint, config, chosen, recipes, format, group, windows };
}

type Job = Awaited<ReturnType<typeof prepareJob>>;

/** Everything that the blocks depend on, in one text. */
async function keyOf(
  { checkpoint, config, recipes, windows }: Job,
  { method, actOrder = false, codebook, device }: CalibratedOptions,
): Promise<string> {
  const files = [];
  for (const { path } of checkpoint.files) files.push(await hashChunks(fileChunks(path)));
  const ids = sha256(JSON.stringify(windows.map((window) => [...window])));
  const on = device.gpu ? `${device.adapter} ${device.backend}` : "cpu";
  const how = { layout: LAYOUT_VERSION, method, actOrder, codebook, on };
  const chosen = [...recipes].map(([name, { format, group, scales, factor }]) => {
    return [name, format.name, group, scales.name, factor];
  });
  return JSON.stringify({ ...how, ids, files, chosen, config });
}

/** What the store holds, for the writer. */
async function preparedFrom(
  { checkpoint, config, recipes }: Job,
  store: BlockStore<MatrixReport[]>,
): Promise<{ prepared: PreparedTensors; reports: MatrixReport[] }> {
  const matrices = new Map(), vectors = new Map(), fitted = new Map(recipes);
  const reports: MatrixReport[] = [];
  for (let at = 0; at < config.layers; at++) {
    const block = await store.read(at);
    for (const report of block.report) {
      const read = async () => (await store.read(at)).matrices.get(report.name)!;
      matrices.set(report.name, { read, error: report.error });
      const { format } = block.matrices.get(report.name)!;
      fitted.set(report.name, { ...recipes.get(report.name)!, format });
    }
    for (const [name, values] of block.vectors) {
      const dtype = checkpoint.tensors.get(name)!.dtype as FloatDtype;
      vectors.set(name, () => Promise.resolve(narrow(values, dtype)));
    }
    reports.push(...block.report);
  }
  return { prepared: { matrices, vectors, recipes: fitted }, reports };
}

/** A store without a block goes; one with blocks is told of. */
async function keepOrRemove(
  store: BlockStore<MatrixReport[]>,
  { layers }: ModelConfig,
  { log = () => {} }: CalibratedOptions,
): Promise<void> {
  if (store.count() === 0) return await store.remove();
  await store.release();
  log(
    `${store.count()} of ${layers} blocks are kept in ${
      quote(store.path)
    }: the same command goes ` +
      `on from there`,
  );
}
