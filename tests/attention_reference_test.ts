import { test } from "node:test";
import assert from "node:assert/strict";
import { attention, type AttentionShape, rotate } from "../lib/attention_reference.ts";

const SHAPE: AttentionShape = {
  heads: 2,
  kvHeads: 1,
  headDim: 2,
  rotaryDim: 2,
  slidingWindow: null,
  normEpsilon: 0,
};

function cacheOf(positions: number, f16 = false) {
  return { keys: new Float32Array(2 * positions), values: new Float32Array(2 * positions), f16 };
}

/** Rotations by quarter turns a position. */
const QUARTERS = Float32Array.of(1, 0, 0, 1, -1, 0, 0, -1);

test("rotate() turns queries in place and keys into the cache, values as they are", () => {
  const cache = cacheOf(2);
  const qkv = Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8); // two queries, a key, a value
  rotate(qkv, SHAPE, { cache, rotations: QUARTERS, position: 1, gains: null });
  assert.deepEqual([...qkv.subarray(0, 4)], [-2, 1, -4, 3]);
  assert.deepEqual([...cache.keys], [0, 0, -6, 5]);
  assert.deepEqual([...cache.values], [0, 0, 7, 8]);
});

test("rotate() norms each query and key head first where there are gains", () => {
  const cache = cacheOf(1);
  const qkv = Float32Array.of(3, 4, 3, 4, 3, 4, 3, 4);
  const gains = { q: Float32Array.of(1, 1), k: Float32Array.of(2, 2) };
  rotate(qkv, SHAPE, { cache, rotations: QUARTERS, position: 0, gains });
  const root = Math.sqrt(12.5);
  assert.ok(Math.abs(qkv[1] - 4 / root) < 1e-6);
  assert.ok(Math.abs(cache.keys[1] - 8 / root) < 1e-6);
  assert.equal(cache.values[1], 4);
});

test("rotate() leaves dimensions beyond rotaryDim alone", () => {
  const shape = { ...SHAPE, heads: 1, headDim: 4 };
  const cache = { keys: new Float32Array(8), values: new Float32Array(8), f16: false };
  const qkv = Float32Array.of(1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0);
  rotate(qkv, shape, { cache, rotations: QUARTERS, position: 1, gains: null });
  assert.deepEqual([...qkv.subarray(0, 4)], [-2, 1, 3, 4]);
});

test("an f16 cache holds f16 numbers", () => {
  const cache = cacheOf(1, true);
  rotate(Float32Array.of(0, 0, 0, 0, 0.1, 0, 0.1, 0), SHAPE, {
    cache,
    rotations: QUARTERS,
    position: 0,
    gains: null,
  });
  assert.equal(cache.keys[0], Math.f16round(0.1));
});

test("attention() weighs values by the softmax of scaled scores, each token up to itself", () => {
  const cache = {
    keys: Float32Array.of(1, 0, 0, 1),
    values: Float32Array.of(1, 2, 3, 4),
    f16: false,
  };
  const qkv = new Float32Array(16);
  qkv.set([Math.SQRT2 * Math.log(3), 0], 8); // second token, first head: scores log 3 and 0
  const y = attention(qkv, SHAPE, cache, 0);
  const wanted = [1, 2, 1, 2, 1.5, 2.5, 2, 3];
  wanted.forEach((value, i) => assert.ok(Math.abs(y[i] - value) < 1e-6, `${y}`));
});

test("a sliding window hides what lies before it", () => {
  const cache = {
    keys: new Float32Array(6),
    values: Float32Array.of(1, 1, 3, 3, 5, 5),
    f16: false,
  };
  const shape = { ...SHAPE, slidingWindow: 2 };
  assert.deepEqual([...attention(new Float32Array(8), shape, cache, 2)], [4, 4, 4, 4]);
});

test("query heads share key heads in order", () => {
  const shape = { ...SHAPE, heads: 4, kvHeads: 2 };
  const cache = { keys: new Float32Array(4), values: Float32Array.of(1, 1, 2, 2), f16: false };
  const y = attention(new Float32Array(16), shape, cache, 0);
  assert.deepEqual([...y], [1, 1, 1, 1, 2, 2, 2, 2]);
});
