/** Claims about lib/weighted_clip.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { format as formatOf, formatNames } from "../lib/format.ts";
import { fitGroups, roundingOf } from "../lib/group_rounding.ts";
import { clipperOf } from "../lib/weighted_clip.ts";
import { fill, normal, uniform } from "./random.ts";

const cols = 128;

/** Sum of importance times squared error of one group with given scales. */
function loss(w: Float32Array, importance: Float32Array, name: string, pair: number[]): number {
  const round = roundingOf(formatOf(name), 0);
  return w.reduce((sum, weight, i) => {
    return sum + importance[i] * (round(weight, Float64Array.from(pair), 0).value - weight) ** 2;
  }, 0);
}

for (const name of formatNames) {
  test(`searched scales lose less than those that reach the extremes, ${name}`, () => {
    const shape = { rows: 1, cols, format: formatOf(name), group: "row" as const };
    for (let seed = 0; seed < 20; seed++) {
      const w = fill(cols, normal(seed)), importance = fill(cols, uniform(seed + 99));
      const reaching = fitGroups(w, shape), searched = fitGroups(w, shape, { importance });
      const before = loss(w, importance, name, [...reaching.pairs]);
      const after = loss(w, importance, name, [...searched.pairs]);
      assert.ok(after < before * 1.002, `${after} against ${before}`); // the f16 of a scale may cost
    }
  });
}

test("with two scales each side is searched by itself", () => {
  const clip = clipperOf(formatOf("nf4-asym"));
  const w = fill(cols, normal(1)), importance = fill(cols, uniform(2));
  const group = { w, start: 0, end: cols, importance };
  const [a, b] = clip(group, 3, 2.5);
  const positives = w.map((x) => Math.max(x, 0)), negatives = w.map((x) => Math.min(x, 0));
  assert.equal(clip({ ...group, w: positives }, 3, 2.5)[0], a);
  assert.equal(clip({ ...group, w: negatives }, 3, 2.5)[1], b);
});

test("no grid of 2000 scales a side finds one that is much better", () => {
  const w = fill(cols, normal(7)), importance = fill(cols, uniform(8));
  const [a, b] = clipperOf(formatOf("nf3-asym"))({ w, start: 0, end: cols, importance }, 3, 3);
  const positives = w.map((x) => Math.max(x, 0));
  const lossAt = (scale: number) => loss(positives, importance, "nf3-asym", [scale, b]);
  const best = Math.min(...Array.from({ length: 2000 }, (_, i) => lossAt(3 * (i + 1) / 2000)));
  assert.ok(lossAt(a) < 1.02 * best, `${lossAt(a)} against ${best}`);
});

test("weights that count for nothing may be clipped", () => {
  const w = Float32Array.of(1, 0.1, 0.05, 10), importance = [1, 1, 1, 0];
  const [scale] = clipperOf(formatOf("nf4-asym"))({ w, start: 0, end: 4, importance }, 10, 0);
  assert.ok(scale < 7, `${scale}`);
});
