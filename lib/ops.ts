/**
 * The operations that a network is written in, and the forward pass of the LLaMA family written in
 * them, once: cpu_ops.ts computes them on the spot, gpu_ops.ts records them as dispatches.
 *
 *   X   activations, [tokens, width]
 *   W   a matrix W [rows, cols] with its bias
 *   V   a vector, the gain of a norm
 *
 * What stays the same from call to call (shapes, cache, positions) belongs to the implementation.
 *
 * @module
 */

/** Operations on activations. A result is only good until the same operation is called again. */
export interface Ops<X, W, V> {
  /** Rows of a table for the tokens that are run: [tokens, dim]. */
  embed(table: W): X;
  /** x / rms(x) * gain; with `last`, of the last token alone. */
  norm(x: X, gain: V, options?: { last: boolean }): X;
  /** W x + b for each token. */
  linear(w: W, x: X): X;
  /** into += W x + b. */
  addLinear(w: W, x: X, into: X): void;
  /** silu(gate) * up, gates and ups being the two halves of W x. */
  gatedLinear(w: W, x: X): X;
  /** Turns the queries of `qkv` by their positions; turned keys, and values, go into the cache. */
  rotate(qkv: X, layer: number, gains: HeadNorms<V> | null): void;
  /** softmax(q K^T / sqrt(headDim)) V over the cache: [tokens, heads headDim]. */
  attention(qkv: X, layer: number): X;
}

/** Gains of the norms of query and key heads, [headDim] each. */
export interface HeadNorms<V> {
  readonly q: V;
  readonly k: V;
}

/** Weights of one layer. */
export interface LayerWeights<W, V> {
  readonly attentionNorm: V;
  /** q, k and v, one below the other: [(heads + 2 kvHeads) headDim, dim]. */
  readonly qkv: W;
  readonly headNorms: HeadNorms<V> | null;
  /** [dim, heads headDim] */
  readonly output: W;
  readonly mlpNorm: V;
  /** gate and up, one below the other: [2 hidden, dim]. */
  readonly gateUp: W;
  /** [dim, hidden] */
  readonly down: W;
}

/** Weights of a network. */
export interface ModelWeights<W, V> {
  /** [vocab, dim] */
  readonly embedding: W;
  readonly layers: readonly LayerWeights<W, V>[];
  readonly norm: V;
  /** [vocab, dim]; the embedding itself where it is tied. */
  readonly head: W;
}

/** The linears of a layer, in the order in which they run. */
export const linearNames = ["qkv", "output", "gateUp", "down"] as const;

/** One of them. */
export type LinearName = typeof linearNames[number];

/**
 * Runs one layer over the residual stream x, in steps: before each linear it stops and tells what
 * the linear is about to be given. Weights are looked up when they are needed, so that they may be
 * replaced at a stop.
 */
export function* layerSteps<X, W, V>(
  ops: Ops<X, W, V>,
  weights: LayerWeights<W, V>,
  layer: number,
  x: X,
): Generator<{ linear: LinearName; input: X }, void> {
  // attention: every token looks back over keys and values of those before it
  const normed = ops.norm(x, weights.attentionNorm);
  yield { linear: "qkv", input: normed };
  const qkv = ops.linear(weights.qkv, normed);
  ops.rotate(qkv, layer, weights.headNorms);
  const attended = ops.attention(qkv, layer);
  yield { linear: "output", input: attended };
  ops.addLinear(weights.output, attended, x);

  // SwiGLU, each token by itself
  const normedAgain = ops.norm(x, weights.mlpNorm);
  yield { linear: "gateUp", input: normedAgain };
  const hidden = ops.gatedLinear(weights.gateUp, normedAgain);
  yield { linear: "down", input: hidden };
  ops.addLinear(weights.down, hidden, x);
}

/** Runs the tokens that are set and gives logits: [tokens, vocab], or of the last token alone. */
export function forward<X, W, V>(
  ops: Ops<X, W, V>,
  model: ModelWeights<W, V>,
  options: { last: boolean },
): X {
  const steps = forwardSteps(ops, model, options);
  while (true) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** The same, stopping before each linear of the layers. */
export function* forwardSteps<X, W, V>(
  ops: Ops<X, W, V>,
  model: ModelWeights<W, V>,
  options: { last: boolean },
): Generator<void, X> {
  const x = ops.embed(model.embedding);
  for (const [layer, weights] of model.layers.entries()) {
    for (const _ of layerSteps(ops, weights, layer, x)) yield;
  }
  return ops.linear(model.head, ops.norm(x, model.norm, options));
}
