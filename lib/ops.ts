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

/** Runs the tokens that are set and gives logits: [tokens, vocab], or of the last token alone. */
export function forward<X, W, V>(
  ops: Ops<X, W, V>,
  model: ModelWeights<W, V>,
  options: { last: boolean },
): X {
  const x = ops.embed(model.embedding);
  model.layers.forEach((weights, layer) => {
    // attention: every token looks back over keys and values of those before it
    const qkv = ops.linear(weights.qkv, ops.norm(x, weights.attentionNorm));
    ops.rotate(qkv, layer, weights.headNorms);
    ops.addLinear(weights.output, ops.attention(qkv, layer), x);

    // SwiGLU, each token by itself
    const hidden = ops.gatedLinear(weights.gateUp, ops.norm(x, weights.mlpNorm));
    ops.addLinear(weights.down, hidden, x);
  });
  return ops.linear(model.head, ops.norm(x, model.norm, options));
}
