/**
 * What a backend must do to run a model: the seam between llama.ts, which knows positions and chunks,
 * and llama_gpu.ts and llama_cpu.ts, which know where weights and cache are.
 *
 * @module
 */

import type { WeightKeeper } from "./model.ts";
import type { ModelWeights } from "./ops.ts";
import type { TuneOptions } from "./tuning.ts";

/** The likeliest tokens. */
export interface Candidates {
  readonly ids: Uint32Array;
  readonly logits: Float32Array;
}

/** What running a token costs. */
export interface ModelStats {
  /** Bytes of all matrices as they are stored, embedding and head included. */
  readonly weightBytes: number;
  /** Dispatches of one token; 0 without a GPU. */
  readonly dispatchesPerToken: number;
  /** Bytes of matrices read for one token: linears and head. */
  readonly bytesPerToken: number;
  /** Bytes of keys and values for one position, all layers. */
  readonly cacheBytesPerPosition: number;
}

/** What a backend does: runs tokens at a position. */
export interface Runner {
  readonly stats: ModelStats;
  /** Most tokens in one run. */
  readonly capacity: number;
  /** Logits of the last token, [vocab]. */
  last(ids: ArrayLike<number>, position: number): Promise<Float32Array>;
  top(ids: ArrayLike<number>, position: number, k: number): Promise<Candidates>;
  /** Logits of every token, [n, vocab]. */
  all(ids: ArrayLike<number>, position: number): Promise<Float32Array>;
  /** -log p(targets[i]) after ids[i], [n]. */
  losses(ids: ArrayLike<number>, targets: number[], position: number): Promise<Float32Array>;
  close(): void;
}

/** Settings of a backend. */
export interface RunnerOptions {
  readonly context: number;
  readonly kvF16: boolean;
  /** Measure candidates for products before use. */
  readonly tune?: TuneOptions;
}

/** How a backend gets its weights. */
export type ReadInto = <W, V>(keeper: WeightKeeper<W, V>) => Promise<ModelWeights<W, V>>;
