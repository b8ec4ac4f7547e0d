import { test } from "node:test";
import assert from "node:assert/strict";
import { ladderOf, nearestCode, searchCode, searchScale, squaredError } from "../lib/ladder.ts";
import { fill, normal } from "./random.ts";

const LEVELS = [0, 0.08, 0.17, 0.27, 0.37, 0.49, 0.62, 0.78, 1];

/** Sizes of normal weights, and the largest. */
function sizes(seed: number, count = 32): { x: Float64Array; largest: number } {
  const x = Float64Array.from(fill(count, normal(seed)), Math.abs);
  return { x, largest: Math.max(...x) };
}

/** The error by trying every level. */
function plainError(x: Float64Array, levels: number[], scale: number): number {
  return x.reduce((sum, weight) => {
    return sum + Math.min(...levels.map((level) => (weight - level * scale) ** 2));
  }, 0);
}

test("squaredError() is that of the nearest levels, but for weights next to a border", () => {
  // a bucket is 1/1023 of the reach: beside a border the two errors differ by at most
  // the gap times that, 0.22 / 1023 in units of scale^2, and of 32 weights few lie there
  for (let seed = 1; seed <= 50; seed++) {
    const { x, largest } = sizes(seed);
    for (const scale of [largest, 0.6 * largest, 1.4 * largest]) {
      const got = squaredError(x, x.length, ladderOf(LEVELS), scale);
      const wanted = plainError(x, LEVELS, scale);
      assert.ok(got >= wanted * (1 - 1e-12), `${got} < ${wanted}`);
      assert.ok(got - wanted <= 32 * 0.22 / 1023 * scale ** 2, `${got}, ${wanted}`);
    }
  }
});

test("a ladder with levels below 0 takes weights of both signs", () => {
  const x = Float64Array.of(-2, 0.9, 2.2, -0.1);
  const error = squaredError(x, 4, ladderOf([-1, 0, 0.5]), 2);
  assert.ok(Math.abs(error - (0 + 0.1 ** 2 + 1.2 ** 2 + 0.1 ** 2)) < 1e-12);
});

test("searchScale() loses on average a tenth less than the scale that reaches the largest", () => {
  let [plain, searched] = [0, 0];
  for (let seed = 1; seed <= 200; seed++) {
    const { x, largest } = sizes(seed);
    const scale = searchScale(x, x.length, ladderOf(LEVELS), largest);
    const [before, after] = [largest, scale].map((s) => plainError(x, LEVELS, s));
    plain += before;
    searched += after;
  }
  assert.ok(searched < 0.9 * plain, `${searched / plain}`);
});

test("searchCode() finds a code that loses at most a hundredth more than the best", () => {
  const ladder = ladderOf(LEVELS);
  for (let seed = 1; seed <= 50; seed++) {
    const { x, largest } = sizes(seed, 16);
    const scales = Float64Array.from({ length: 16 }, (_, code) => largest * (0.75 + 0.05 * code));
    const code = searchCode(x, 16, ladder, { scales, first: 0, reaching: largest });
    const errors = [...scales].map((scale) => plainError(x, LEVELS, scale));
    assert.ok(errors[code] <= 1.01 * Math.min(...errors), `${code} of ${errors}`);
  }
});

test("searchCode() among many codes, powers of two, finds the best of all", () => {
  const ladder = ladderOf(LEVELS);
  const scales = Float64Array.from({ length: 256 }, (_, code) => code && 2 ** (code - 127));
  for (let seed = 1; seed <= 100; seed++) {
    const { x, largest } = sizes(seed, 16);
    const code = searchCode(x, 16, ladder, { scales, first: 1, reaching: largest });
    const errors = [...scales].map((scale) => plainError(x, LEVELS, scale));
    const least = Math.min(...errors);
    assert.ok(errors[code] <= 1.02 * least, `${errors[code]} for ${least} of seed ${seed}`);
  }
});

test("searchCode() takes the nearest code where none reaches the largest, or all far beyond", () => {
  const { x, largest } = sizes(1, 16), ladder = ladderOf(LEVELS);
  for (const [share, code] of [[0.1, 3], [5, 0]]) {
    const scales = Float64Array.from({ length: 4 }, (_, i) => largest * share * (1 + i / 4));
    assert.equal(searchCode(x, 16, ladder, { scales, first: 0, reaching: largest }), code);
  }
});

test("nearestCode() gives the nearest, the lower of two, and none before the first", () => {
  const scales = Float64Array.of(0, 1, 2, 4, Infinity);
  const cases = [[0, 1], [1.4, 1], [1.5, 1], [1.6, 2], [3, 2], [3.1, 3], [1e9, 3]];
  for (const [wanted, code] of cases) {
    assert.equal(nearestCode(scales, 1, wanted), code, `${wanted}`);
  }
});
