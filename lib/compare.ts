/**
 * How far model B is from model A on a text, beyond their perplexities: at each position that predicts
 * a token, with p and q the probabilities that A and B give to the whole vocabulary,
 *
 *   KL(A || B) = sum p log(p / q), nats        top-1: whether both have the same likeliest token
 *
 * Means over positions, standard errors over windows. Two models can have the same perplexity and yet
 * disagree; of a model and its quantised copy, KL says how much of the model is left.
 *
 * Sums are in f64 over f32 logits. What runs the models is not known here.
 *
 * @module
 */
import { type EvaluateOptions, logSumExp } from "./evaluate.ts";
import { type Estimate, estimate, estimateDifference, perplexityOf } from "./statistics.ts";
import type { TextWindows } from "./text_windows.ts";

/** What a comparison needs of a model. */
export interface LogitsSource {
  /** Logits of all positions of one window, [n, vocab], from an empty cache. */
  allLogits(ids: ArrayLike<number>): Promise<Float32Array>;
}

/** The two models side by side. */
export interface Comparison {
  readonly a: ModelScore;
  readonly b: ModelScore;
  /** Paired: of b - a, in nats a token. */
  readonly nllDifference: Estimate;
  /** Nats a position. */
  readonly kl: Estimate;
  /** Share of positions, 0 to 1. */
  readonly top1: Estimate;
  /** Predictions: windows x (context - 1). */
  readonly tokens: number;
  readonly windows: number;
  readonly context: number;
  readonly seconds: number;
}

/** One model's part. */
export interface ModelScore {
  readonly nll: number;
  readonly perplexity: number;
  /** Of `nll`, over windows; null for one. */
  readonly standardError: number | null;
}

/** Means over the positions of one window. */
export interface WindowComparison {
  readonly nllA: number;
  readonly nllB: number;
  readonly kl: number;
  readonly top1: number;
}

/**
 * Compares two models over windows of a text.
 *
 * @throws {RangeError} where their vocabularies differ or logits are no numbers, naming the window.
 */
export async function compareModels(
  a: LogitsSource,
  b: LogitsSource,
  { windows, context }: TextWindows,
  { onProgress, signal }: EvaluateOptions = {},
): Promise<Comparison> {
  const start = performance.now();
  const found: WindowComparison[] = [];
  for (const ids of windows) {
    signal?.throwIfAborted();
    const [logitsA, logitsB] = [await a.allLogits(ids), await b.allLogits(ids)];
    found.push(compareWindow(ids, logitsA, logitsB, `window ${found.length + 1}`));
    onProgress?.(found.length, windows.length);
  }
  const [nllA, nllB] = [found.map(({ nllA }) => nllA), found.map(({ nllB }) => nllB)];
  return {
    a: modelScore(nllA),
    b: modelScore(nllB),
    nllDifference: estimateDifference(nllA, nllB),
    kl: estimate(found.map(({ kl }) => kl)),
    top1: estimate(found.map(({ top1 }) => top1)),
    tokens: windows.length * (context - 1),
    windows: windows.length,
    context,
    seconds: (performance.now() - start) / 1000,
  };
}

function modelScore(windowNll: number[]): ModelScore {
  const nll = estimate(windowNll);
  return {
    nll: nll.mean,
    perplexity: perplexityOf(nll).mean,
    standardError: nll.standardError,
  };
}

/** Compares logits [n, vocab] of two models over one window, ids [n], at its first n - 1 positions. */
export function compareWindow(
  ids: ArrayLike<number>,
  a: Float32Array,
  b: Float32Array,
  what = "a window",
): WindowComparison {
  const vocab = a.length / ids.length;
  if (a.length !== b.length) {
    throw new RangeError(
      `Cannot compare the models as they must have one vocabulary: ` +
        `got ${vocab} and ${b.length / ids.length} tokens`,
    );
  }
  const sums = { nllA: 0, nllB: 0, kl: 0, top1: 0 };
  const count = ids.length - 1;
  for (let i = 0; i < count; i++) {
    const [rowA, rowB] = [a, b].map((all) => all.subarray(i * vocab, (i + 1) * vocab));
    const [totalA, totalB] = [logSumExp(rowA), logSumExp(rowB)];
    sums.nllA += totalA - rowA[ids[i + 1]];
    sums.nllB += totalB - rowB[ids[i + 1]];
    sums.kl += divergence(rowA, rowB, totalA, totalB);
    sums.top1 += Number(indexOfMost(rowA) === indexOfMost(rowB));
  }
  if (!Number.isFinite(sums.kl + sums.nllA + sums.nllB)) {
    throw new RangeError(`Cannot compare ${what} as its logits must be numbers: got others`);
  }
  const { nllA, nllB, kl, top1 } = sums;
  return { nllA: nllA / count, nllB: nllB / count, kl: kl / count, top1: top1 / count };
}

/** sum p log(p / q) by logits and the log of their sums of exp. */
function divergence(a: Float32Array, b: Float32Array, totalA: number, totalB: number): number {
  let sum = 0;
  for (let j = 0; j < a.length; j++) {
    const logP = a[j] - totalA;
    const p = Math.exp(logP);
    if (p !== 0) sum += p * (logP - (b[j] - totalB));
  }
  return sum;
}

/** The first of the largest. */
function indexOfMost(logits: Float32Array): number {
  let most = 0;
  for (let j = 1; j < logits.length; j++) if (logits[j] > logits[most]) most = j;
  return most;
}
