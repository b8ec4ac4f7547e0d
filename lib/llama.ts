/**
 * A LLaMA-family model that is ready to run: weights where they are multiplied, a cache of keys and
 * values, and the few questions that are asked of it.
 *
 *   logits, top   of the last of some more tokens: what generation needs
 *   losses        -log p of each token of a window: what evaluation needs
 *   allLogits     of each token of a window: what comparison needs
 *
 * Tokens run in chunks of up to 256. On a GPU a chunk is one submission of a record that was made
 * once; a single token has a record of its own, with everything fused that can be.
 *
 * @module
 */

import { openCheckpoint } from "./checkpoint.ts";
import type { Device } from "./device.ts";
import { loadOnCpu } from "./llama_cpu.ts";
import { loadOnGpu } from "./llama_gpu.ts";
import { type ModelConfig, openModelConfig } from "./model_config.ts";
import { readWeights, type ReadWeightsOptions } from "./model.ts";
import type { Candidates, ModelStats, Runner } from "./runner.ts";
import type { TuneOptions } from "./tuning.ts";

export type { Candidates, ModelStats } from "./runner.ts";

/** A loaded model. */
export interface LanguageModel {
  readonly config: ModelConfig;
  readonly device: Device;
  /** Most tokens in the cache. */
  readonly context: number;
  readonly stats: ModelStats;
  /** Forgets all tokens. */
  reset(): void;
  /** Runs more tokens; the logits of the last, [vocab]. */
  logits(ids: ArrayLike<number>): Promise<Float32Array>;
  /** Runs more tokens; the ids of the `k` largest logits of the last, and these, largest first. */
  top(ids: ArrayLike<number>, k: number): Promise<Candidates>;
  /** -log p(ids[i] | ids[0 .. i - 1]) in nats for i >= 1, [n - 1], as a window of its own. */
  losses(ids: ArrayLike<number>): Promise<Float32Array>;
  /** Logits of every token, [n, vocab], as a window of its own. */
  allLogits(ids: ArrayLike<number>): Promise<Float32Array>;
  close(): void;
}

/** Options of {@linkcode loadModel}. */
export interface LoadModelOptions extends ReadWeightsOptions {
  /** Numbers of the cache, f16 unless told. */
  readonly kv?: "f16" | "f32";
  /** Most tokens in the cache; the model's own context, but at most 4096, unless told. */
  readonly context?: number;
  /** Measure which kernels suit this device before the first token, unless the cache knows. */
  readonly tune?: TuneOptions;
}

/**
 * Loads a Hugging Face folder, dense or quantised by afpq, onto a device.
 *
 * @throws {RangeError} naming the field of config.json that cannot be run, or a bad weight
 * @throws {Error} if a tensor is missing or the device is out of memory
 */
export async function loadModel(
  device: Device,
  path: string,
  options: LoadModelOptions = {},
): Promise<LanguageModel> {
  const checkpoint = await openCheckpoint(path);
  const config = await openModelConfig(checkpoint);
  const context = options.context ?? Math.min(config.context, 4096);
  const load = device.gpu ? loadOnGpu : loadOnCpu;
  const runner = await load(
    device,
    config,
    { context, kvF16: options.kv !== "f32", tune: options.tune },
    (keeper) => readWeights(checkpoint, config, keeper, options),
  );
  return languageModel(device, config, context, runner);
}

/** A model from its backend: positions, chunks and checks. */
export function languageModel(
  device: Device,
  config: ModelConfig,
  context: number,
  runner: Runner,
): LanguageModel {
  let position = 0;
  const expect = (ids: ArrayLike<number>) => {
    const bad = Array.from(ids).find((id) => !Number.isInteger(id) || id < 0 || id >= config.vocab);
    if (bad !== undefined) {
      throw new RangeError(`Cannot run tokens as ids must be below ${config.vocab}: got ${bad}`);
    }
    if (ids.length === 0) throw new RangeError("Cannot run tokens as there must be one: got none");
    if (position + ids.length > context) {
      throw new RangeError(
        `Cannot run tokens as the context holds ${context}: got ${position} and ${ids.length} more`,
      );
    }
  };
  /** Runs all but the last chunk, and the last by `act`. */
  const run = async <T>(
    ids: ArrayLike<number>,
    act: (chunk: number[], at: number) => Promise<T>,
  ) => {
    expect(ids);
    const chunks = chunksOf(ids, runner.capacity);
    for (const chunk of chunks.slice(0, -1)) {
      await runner.top(chunk, position, 1);
      position += chunk.length;
    }
    const chunk = chunks.at(-1)!;
    const result = await act(chunk, position);
    position += chunk.length;
    return result;
  };
  /** Runs a window chunk by chunk from an empty cache. */
  const runWindow = async (
    ids: ArrayLike<number>,
    act: (chunk: number[], at: number) => Promise<Float32Array>,
  ) => {
    position = 0;
    expect(ids);
    const parts = [];
    for (const chunk of chunksOf(ids, runner.capacity)) {
      parts.push(await act(chunk, position));
      position += chunk.length;
    }
    return concatenate(parts);
  };
  return {
    config,
    device,
    context,
    stats: runner.stats,
    reset: () => void (position = 0),
    logits: (ids) => run(ids, (chunk, at) => runner.last(chunk, at)),
    top: (ids, k) => run(ids, (chunk, at) => runner.top(chunk, at, Math.min(k, config.vocab))),
    async losses(ids) {
      const next = (i: number) => ids[Math.min(i + 1, ids.length - 1)];
      const losses = await runWindow(
        ids,
        (chunk, at) => runner.losses(chunk, chunk.map((_, i) => next(at + i)), at),
      );
      return losses.subarray(0, ids.length - 1);
    },
    allLogits: (ids) => runWindow(ids, (chunk, at) => runner.all(chunk, at)),
    close: () => runner.close(),
  };
}

function chunksOf(ids: ArrayLike<number>, most: number): number[][] {
  const all = Array.from(ids);
  return Array.from(
    { length: Math.ceil(all.length / most) },
    (_, i) => all.slice(i * most, (i + 1) * most),
  );
}

function concatenate(parts: Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
