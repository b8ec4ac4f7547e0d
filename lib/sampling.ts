/**
 * Chooses the next token by the logits of a model, reproducibly: the same seed and logits give the
 * same tokens, on every runtime up to the last bit of exp.
 *
 *   p(i) ~ exp(logit(i) / temperature)      of the topK largest, then of the fewest that hold topP
 *
 * Temperature 0 takes the largest logit, the first of equals, and draws nothing. Equal logits count
 * in the order given. The generator is sfc32 over a seed spread by splitmix32; two draws make the 53
 * bits of one uniform number.
 *
 * Logits are of the whole vocabulary, or of candidates: then what the choice gives is an index into
 * them. Choosing among the k largest alone is the same as among all wherever topK is at most k.
 *
 * @module
 */

/** How to choose. */
export interface SamplerOptions {
  /** 0 is greedy; 1, the default, is as the model has it. */
  readonly temperature?: number;
  /** How many of the likeliest tokens count; all by default. */
  readonly topK?: number;
  /** How much probability the tokens that count hold together; 1 by default. */
  readonly topP?: number;
  /** Any whole number up to 2^53 - 1; 0 by default. */
  readonly seed?: number;
}

/** Gives the index of the chosen logit. */
export type Sampler = (logits: Float32Array) => number;

/**
 * A sampler with a generator of its own.
 *
 * @throws {RangeError} on a temperature, topK, topP or seed that makes no sense; the sampler, on
 * logits that are not numbers.
 *
 * @example Greedy
 * ```ts
 * import { createSampler } from "./sampling.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(createSampler({ temperature: 0 })(Float32Array.of(0.5, 2, 1)), 1);
 * ```
 */
export function createSampler(options: SamplerOptions = {}): Sampler {
  const { temperature = 1, topK = Infinity, topP = 1, seed = 0 } = options;
  demand("temperature", temperature, temperature >= 0 && temperature < Infinity, "0 or more");
  demand("top-k", topK, topK >= 1 && (topK === Infinity || Number.isInteger(topK)), "1 or more");
  demand("top-p", topP, topP > 0 && topP <= 1, "above 0 and at most 1");
  demand("seed", seed, Number.isSafeInteger(seed) && seed >= 0, "a whole number up to 2^53 - 1");
  const random = createRandom(seed);
  return (logits) => {
    const best = largest(logits);
    if (temperature === 0 || topK === 1) return best;
    const top = logits[best];
    const weights = Float64Array.from(logits, (logit) => Math.exp((logit - top) / temperature));
    if (topK >= logits.length && topP === 1) return drawFrom(weights, null, random());
    return drawFrom(weights, likeliest(weights, topK, topP), random());
  };
}

/** The index of the largest logit, the first of equals. */
export function largest(logits: Float32Array): number {
  let best = 0;
  for (let i = 0; i < logits.length; i++) {
    if (logits[i] <= logits[best]) continue;
    best = i;
    if (Number.isNaN(logits[i])) break;
  }
  const found = logits[best];
  if (!Number.isFinite(found)) {
    throw new RangeError(`Cannot choose a token as its logit must be a number: got ${found}`);
  }
  return best;
}

/**
 * The indices that count, likeliest first. Tokens below (1 - topP) / n of the whole never do, n in
 * number: together they hold less than what topP leaves out.
 */
function likeliest(weights: Float64Array, topK: number, topP: number): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const least = topK < weights.length ? 0 : (1 - topP) * total / weights.length * (1 - 1e-9);
  const order: number[] = [];
  for (let i = 0; i < weights.length; i++) if (weights[i] >= least) order.push(i);
  order.sort((a, b) => weights[b] - weights[a] || a - b);
  const kept = order.slice(0, topK);
  const share = kept.reduce((sum, i) => sum + weights[i], 0);
  const goal = topP * (topK < weights.length ? share : total);
  let [count, held] = [0, 0];
  while (count < kept.length && (count === 0 || held < goal)) held += weights[kept[count++]];
  return kept.slice(0, count);
}

/** Draws an index by weight; `among` all, or a list of indices. */
function drawFrom(weights: Float64Array, among: number[] | null, uniform: number): number {
  const count = among?.length ?? weights.length;
  let total = 0;
  for (let i = 0; i < count; i++) total += weights[among?.[i] ?? i];
  let left = uniform * total;
  let last = 0;
  for (let i = 0; i < count; i++) {
    const index = among?.[i] ?? i;
    if (weights[index] === 0) continue;
    last = index;
    left -= weights[index];
    if (left < 0) break;
  }
  return last;
}

/** Uniform numbers in [0, 1), 53 bits each. */
export function createRandom(seed: number): () => number {
  const spread = splitmix32(seed >>> 0, Math.floor(seed / 2 ** 32));
  let [a, b, c, counter] = [spread(), spread(), spread(), 1];
  const next = () => {
    const sum = (a + b + counter++) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 12; i++) next();
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
}

function splitmix32(low: number, high: number): () => number {
  let state = (low ^ Math.imul(high, 0x85ebca6b)) | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return mixed ^ (mixed >>> 15);
  };
}

function demand(what: string, value: number, holds: boolean, rule: string): void {
  if (!holds) throw new RangeError(`Cannot sample as ${what} must be ${rule}: got ${value}`);
}
