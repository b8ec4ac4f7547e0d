import { test } from "node:test";
import assert from "node:assert/strict";
import {
  AF4_128,
  AF4_32,
  AF4_64,
  BOF4,
  BOF4S_128,
  BOF4S_64,
  cubicLevels,
  E2M0_MAGNITUDES,
  E2M1_MAGNITUDES,
  floatMagnitudes,
  INT3,
  INT4,
  NF3,
  NF4,
  SF4,
  UINT3,
  UINT4,
} from "../lib/codebook.ts";

/** Standard normal distribution function, by its series. */
function normalCdf(z: number): number {
  let term = z, sum = z;
  for (let i = 1; i < 200; i++) sum += term *= z * z / (2 * i + 1);
  return 0.5 + sum * Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
}

/** Its inverse, by bisection. */
function normalQuantile(p: number): number {
  let low = -8, high = 8;
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (normalCdf(middle) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** NF levels by the rule in codebook.ts: `n` levels, one of them 0. */
function normalFloat(n: number): number[] {
  const p = 1 - (1 / (2 * n - 2) + 1 / (2 * n)) / 2;
  const side = (steps: number) =>
    Array.from({ length: steps }, (_, i) => normalQuantile(p + (0.5 - p) * i / steps));
  const levels = [...side(n / 2), 0, ...side(n / 2 - 1).map((q) => -q)].sort((a, b) => a - b);
  return levels.map((level) => level / normalQuantile(p));
}

test("NF4 and NF3 are the normal quantiles that their rule gives, to 2e-7", () => {
  for (const [book, n] of [[NF4, 16], [NF3, 8]] as const) {
    const wanted = normalFloat(n);
    assert.equal(book.length, n);
    book.forEach((level, i) =>
      assert.ok(Math.abs(level - wanted[i]) < 2e-7, `${level}, ${wanted[i]}`)
    );
  }
});

test("NF4's numbers are f32 as they stand", () => {
  for (const level of NF4) assert.equal(Math.fround(level), level);
});

test("FP4 and FP3 are E2M1 and E2M0 of the generator", () => {
  assert.deepEqual(E2M1_MAGNITUDES, floatMagnitudes(2, 1));
  assert.deepEqual(E2M0_MAGNITUDES, floatMagnitudes(2, 0));
});

test("cubic levels are exact in f32, and steps between them grow from 0 on", () => {
  for (const [first, count, bend] of [[-7, 16, 128], [-3.5, 8, 32]]) {
    const levels = cubicLevels(first, count, bend);
    for (const level of levels) assert.equal(Math.fround(level), level);
    const steps = levels.slice(1).map((level, i) => level - levels[i]);
    const middle = Math.floor(-first);
    steps.forEach((step, i) => {
      if (i > middle) assert.ok(step > steps[i - 1], `${steps}`);
      if (i < middle - 1) assert.ok(step > steps[i + 1], `${steps}`);
    });
  }
});

test("floatMagnitudes() follows the definition of a small float", () => {
  for (const [e, m] of [[1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [3, 0]]) {
    const bias = 2 ** (e - 1) - 1;
    floatMagnitudes(e, m).forEach((magnitude, code) => {
      const exponent = Math.floor(code / 2 ** m), fraction = code % 2 ** m / 2 ** m;
      const wanted = exponent
        ? (1 + fraction) * 2 ** (exponent - bias)
        : fraction * 2 ** (1 - bias);
      assert.equal(magnitude, wanted, `e${e}m${m} code ${code}`);
    });
  }
});

test("integer tables are the integers of their range", () => {
  const range = (first: number, last: number) =>
    Array.from({ length: last - first + 1 }, (_, i) => first + i);
  assert.deepEqual(INT4, range(-7, 7));
  assert.deepEqual(INT3, range(-3, 3));
  assert.deepEqual(UINT4, range(0, 15));
  assert.deepEqual(UINT3, range(0, 7));
});

/** Student's t with 5 degrees of freedom: its distribution function in closed form. */
function studentCdf(t: number): number {
  const angle = Math.atan(t / Math.sqrt(5)), cosine = Math.cos(angle);
  return 0.5 + (angle + Math.sin(angle) * cosine * (1 + 2 / 3 * cosine ** 2)) / Math.PI;
}

test("SF4 is NF4's rule with the quantiles of Student's t", () => {
  const p = 1 - (1 / 30 + 1 / 32) / 2;
  SF4.forEach((level, code) => {
    const below = code < 7;
    const share = below ? code / 7 : (15 - code) / 8; // steps from the outermost quantile to 1/2
    const wanted = p + (0.5 - p) * share;
    let [low, high] = [0, 100];
    for (let i = 0; i < 100; i++) {
      const middle = (low + high) / 2;
      if (studentCdf(middle) < wanted) low = middle;
      else high = middle;
    }
    let [least, most] = [0, 100];
    for (let i = 0; i < 100; i++) {
      const middle = (least + most) / 2;
      if (studentCdf(middle) < p) least = middle;
      else most = middle;
    }
    assert.ok(Math.abs(Math.abs(level) - low / least) < 1e-8, `code ${code}: ${level}`);
  });
});

test("each book for blocks ascends, holds 0 and reaches 1", () => {
  for (const book of [SF4, AF4_32, AF4_64, AF4_128, BOF4, BOF4S_64, BOF4S_128]) {
    assert.equal(book.length, 16);
    assert.ok(book.every((level, i) => i === 0 || level > book[i - 1]));
    assert.deepEqual([book[7], book[15]], [0, 1]);
  }
});
