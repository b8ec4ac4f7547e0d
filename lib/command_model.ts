/**
 * What the commands that run a model share: its flags, what can be refused before a device is opened,
 * and what a token costs.
 *
 * @module
 */
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import type { CommandContext } from "./command.ts";
import { type Accuracy, type Binding, type Device, openDevice } from "./device.ts";
import { type LanguageModel, loadModel } from "./llama.ts";
import { type ModelConfig, openModelConfig } from "./model_config.ts";
import { packedBytes } from "./pack_scales.ts";
import { packedTensors } from "./packed_tensors.ts";
import type { Args } from "./parse_args.ts";
import { bytesText } from "./progress.ts";
import {
  callersPath,
  readAccuracy,
  readBinding,
  readFormat,
  readOneOf,
  text,
} from "./read_options.ts";
import { told } from "./report.ts";
import { openTokenizer, requireTokenizerFor, type Tokenizer } from "./tokenizer.ts";
import { tunedText, type TuneMode, tuneModes } from "./tuning.ts";

/** How a model is to be run. */
export interface ModelOptions {
  readonly path: string;
  readonly binding?: Binding;
  /** Whether to try for a fast device. */
  readonly fast?: boolean;
  /** "fast" multiplies a token or two in f16 or bytes; "exact" unless told. */
  readonly accuracy?: Accuracy;
  /** Whether matrix units multiply where there are any. */
  readonly matrixUnits?: boolean;
  /** Where tilings come from, the cache unless told. */
  readonly tune?: TuneMode;
  /** Numbers of the cache, f16 unless told. */
  readonly kv?: "f16" | "f32";
  /** Format of the head; null leaves it as it is. */
  readonly head?: string | null;
}

/** Reads `--binding`, `--fast`, `--accuracy`, `--matrix-units`, `--tune`, `--kv` and `--head`. */
export function readModelOptions(parsed: Args): ModelOptions {
  const head = text(parsed.head) ?? "keep";
  return {
    path: callersPath(parsed._[0] ?? ""),
    binding: readBinding(parsed),
    fast: parsed.fast === true,
    accuracy: readAccuracy(parsed),
    matrixUnits: parsed["matrix-units"] === true,
    tune: readOneOf("tune", text(parsed.tune), tuneModes),
    kv: readOneOf("kv", text(parsed.kv), ["f16", "f32"]),
    head: head === "keep" ? null : readFormat(head).name,
  };
}

/** A model of which everything but the weights is known. */
export interface Prepared {
  readonly options: ModelOptions;
  readonly checkpoint: Checkpoint;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
}

/**
 * Opens a folder as far as it goes without its weights.
 *
 * @throws {Error} if a file is missing, a config is not to be run, or the tokenizer is of another model
 */
export async function prepareModel(options: ModelOptions): Promise<Prepared> {
  const checkpoint = await openCheckpoint(options.path);
  const config = await openModelConfig(checkpoint);
  const tokenizer = await openTokenizer(checkpoint.folder);
  requireTokenizerFor(tokenizer, config.vocab);
  return { options, checkpoint, config, tokenizer };
}

/** Refuses ids that the model has not, before any of them runs. */
export function requireIds(ids: ArrayLike<number>, { config }: Prepared): void {
  const bad = Array.from(ids).find((id) => id >= config.vocab);
  if (bad === undefined) return;
  throw new RangeError(
    `Cannot run the text as its ids must be below the model's vocabulary, ${config.vocab}: ` +
      `got ${bad}, the tokenizer may be another model's`,
  );
}

/** Opens a device, as the last thing before weights move. */
export function openModelDevice(
  { options: { binding, fast, accuracy, matrixUnits, tune } }: Prepared,
  { log }: CommandContext,
): Promise<Device> {
  const tuned = (tune ?? "cached") === "cached";
  return openDevice({ binding, fast, accuracy, matrixUnits, tuned, log });
}

/** Loads the weights, with progress; `context` is the most tokens in the cache. */
export function loadPrepared(
  { options: { path, kv, head, tune } }: Prepared,
  device: Device,
  { onProgress, signal, log }: CommandContext,
  context: number,
): Promise<LanguageModel> {
  return loadModel(device, path, {
    kv,
    head,
    context,
    tune: tune === "now" ? { onTuned: (tuned) => log(tunedText(tuned)) } : undefined,
    signal,
    onProgress: (done, total, what) => onProgress(done, total, what, "matrices"),
  });
}

/** What a token costs, and bits a weight of the linears without and with the head. */
export function modelFacts(prepared: Prepared, { stats }: LanguageModel) {
  return { ...stats, ...bitsPerWeight(prepared) };
}

/** The same in words. */
export function factLines(facts: ReturnType<typeof modelFacts>): string[] {
  const { dispatchesPerToken, bytesPerToken, cacheBytesPerPosition } = facts;
  return [
    `a token: ${dispatchesPerToken} dispatches, ${bytesText(bytesPerToken)} of weights, ` +
    `${bytesText(cacheBytesPerPosition)} of cache a position before it`,
    `bits a weight: ${told(facts.bitsPerWeight)} in the linears, ` +
    `${told(facts.bitsPerWeightWithHead)} with the head`,
  ];
}

/** Bits a weight as stored; the head as it is run. */
function bitsPerWeight({ checkpoint, config, options }: Prepared) {
  const stored = storedMatrices(checkpoint);
  const linears = sum([...stored].filter(([name]) => /\.layers\.\d+\..*_proj\.weight$/.test(name)));
  const name = config.tied ? "model.embed_tokens.weight" : "lm_head.weight";
  const head = stored.get(name)!;
  const bytes = options.head
    ? packedBytes({ rows: config.vocab, cols: config.dim, format: readFormat(options.head), group })
    : head.bytes;
  return {
    bitsPerWeight: 8 * linears.bytes / linears.weights,
    bitsPerWeightWithHead: 8 * (linears.bytes + bytes) / (linears.weights + head.weights),
  };
}

/** Columns that share scales in a head that is quantised as it is read. */
const group = 128;

interface Stored {
  readonly weights: number;
  readonly bytes: number;
}

/** Weights and bytes of every matrix, packed or dense, by source name. */
function storedMatrices({ files, tensors }: Checkpoint): Map<string, Stored> {
  const dense = [...tensors.values()].map(({ name, shape, begin, end }) => {
    const weights = shape.map(Number).reduce((a, b) => a * b, 1);
    return [name, { weights, bytes: end - begin }] as const;
  });
  const packed = files.flatMap(packedTensors).map((matrix) => {
    const { name, rows, cols } = matrix;
    return [name, { weights: rows * cols, bytes: packedBytes(matrix) }] as const;
  });
  return new Map([...dense, ...packed]);
}

function sum(matrices: [string, Stored][]): Stored {
  return matrices.reduce(
    (total, [, { weights, bytes }]) => ({
      weights: total.weights + weights,
      bytes: total.bytes + bytes,
    }),
    { weights: 0, bytes: 0 },
  );
}
