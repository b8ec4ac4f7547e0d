/**
 * Attention with a cache in plain TypeScript, in f64 until a result is stored: what rotate and
 * attention must compute.
 *
 *   qkv        [tokens, (heads + 2 kvHeads) headDim]   a row: queries, keys, values
 *   keys, values  [context, kvHeads, headDim]          f32 that hold f16 numbers in an f16 cache
 *   rotations  [context, rotaryDim / 2, 2]             cosine and sine of position x frequency
 *
 * Dimension d < rotaryDim / 2 turns with d + rotaryDim / 2 (the half-split of Hugging Face).
 *
 * @module
 */

/** Shape of a layer's attention. */
export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rotaryDim: number;
  /** How many positions back a token sees, itself included; null sees all. */
  readonly slidingWindow: number | null;
  /** Epsilon of the norm of each query and key head. */
  readonly normEpsilon: number;
}

/** Keys and values of one layer. */
export interface KeyValueCache {
  /** [context, kvHeads, headDim] */
  readonly keys: Float32Array;
  readonly values: Float32Array;
  readonly f16: boolean;
}

/** Gains of the norms of query and key heads, [headDim] each. */
export interface HeadGains {
  readonly q: Float32Array;
  readonly k: Float32Array;
}

/** Turns the queries of `qkv` in place; turns keys, and puts keys and values into the cache. */
export function rotate(
  qkv: Float32Array,
  shape: AttentionShape,
  { cache, rotations, position, gains }: {
    cache: KeyValueCache;
    rotations: Float32Array;
    position: number;
    gains: HeadGains | null;
  },
): void {
  const { heads, kvHeads, headDim } = shape;
  const stride = (heads + 2 * kvHeads) * headDim;
  const store = (numbers: Float32Array, at: number, vector: Float32Array) =>
    numbers.set(cache.f16 ? new Float16Array(vector) : vector, at);
  for (let token = 0; token < qkv.length / stride; token++) {
    const turn = rotations.subarray((position + token) * shape.rotaryDim);
    for (let head = 0; head < heads + 2 * kvHeads; head++) {
      const vector = qkv.subarray(token * stride + head * headDim).subarray(0, headDim);
      const slot = ((position + token) * kvHeads + (head - heads) % kvHeads) * headDim;
      const gain = head < heads ? gains?.q : gains?.k;
      if (head >= heads + kvHeads) store(cache.values, slot, vector);
      else {
        const turned = turnedHead(vector, turn, shape, gain);
        if (head < heads) vector.set(turned);
        else store(cache.keys, slot, turned);
      }
    }
  }
}

/** A query or key head after its norm, turned by the angles of its position. */
function turnedHead(
  vector: Float32Array,
  turn: Float32Array,
  { rotaryDim, normEpsilon }: AttentionShape,
  gain?: Float32Array,
): Float32Array {
  let x = Float64Array.from(vector);
  if (gain) {
    const squares = x.reduce((sum, value) => sum + value * value, 0);
    const scale = 1 / Math.sqrt(squares / x.length + normEpsilon);
    x = x.map((value, i) => value * scale * gain[i]);
  }
  const half = rotaryDim / 2;
  const y = Float32Array.from(x);
  for (let i = 0; i < half; i++) {
    const cosine = turn[2 * i], sine = turn[2 * i + 1];
    y[i] = x[i] * cosine - x[i + half] * sine;
    y[i + half] = x[i + half] * cosine + x[i] * sine;
  }
  return y;
}

/** softmax(q K^T / sqrt(headDim)) V for tokens at `position` and on -> [tokens, heads headDim]. */
export function attention(
  qkv: Float32Array,
  shape: AttentionShape,
  cache: KeyValueCache,
  position: number,
): Float32Array<ArrayBuffer> {
  const { heads, kvHeads, headDim, slidingWindow } = shape;
  const stride = (heads + 2 * kvHeads) * headDim;
  const tokens = qkv.length / stride;
  const y = new Float32Array(tokens * heads * headDim);
  for (let token = 0; token < tokens; token++) {
    const last = position + token;
    const first = slidingWindow === null ? 0 : Math.max(0, last + 1 - slidingWindow);
    for (let head = 0; head < heads; head++) {
      const query = qkv.subarray(token * stride + head * headDim).subarray(0, headDim);
      const kvHead = Math.floor(head / (heads / kvHeads));
      const at = (token * heads + head) * headDim;
      y.set(attend(query, { first, last }, cache, { kvHeads, kvHead }), at);
    }
  }
  return y;
}

/** One query over positions first .. last of one head of the cache. */
function attend(
  query: Float32Array,
  { first, last }: { first: number; last: number },
  { keys, values }: KeyValueCache,
  { kvHeads, kvHead }: { kvHeads: number; kvHead: number },
): Float64Array {
  const headDim = query.length;
  const rowAt = (position: number) => (position * kvHeads + kvHead) * headDim;
  const scores = new Float64Array(last + 1 - first);
  for (let i = 0; i < scores.length; i++) {
    const row = rowAt(first + i);
    let dot = 0;
    for (let d = 0; d < headDim; d++) dot += query[d] * keys[row + d];
    scores[i] = dot / Math.sqrt(headDim);
  }
  const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = scores.map((score) => Math.exp(score - top));
  const total = weights.reduce((a, b) => a + b, 0);
  const y = new Float64Array(headDim);
  weights.forEach((weight, i) => {
    const share = weight / total, row = rowAt(first + i);
    for (let d = 0; d < headDim; d++) y[d] += share * values[row + d];
  });
  return y;
}

/** Keys or values [positions, kvHeads, headDim] with heads padded with zeros to fours. */
export function widenCache(
  numbers: Float32Array,
  { headDim }: { headDim: number },
): Float32Array<ArrayBuffer> {
  const stride = 4 * Math.ceil(headDim / 4);
  const wide = new Float32Array(numbers.length / headDim * stride);
  for (let head = 0; head < numbers.length / headDim; head++) {
    wide.set(numbers.subarray(head * headDim, (head + 1) * headDim), head * stride);
  }
  return wide;
}
