/** Claims about lib/sampling.ts: draws follow the logits, and repeat. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createRandom, createSampler, type SamplerOptions } from "../lib/sampling.ts";
import { normal } from "./random.ts";

/** How often each of the logits is drawn, in 20,000 draws. */
function shares(logits: number[], options: SamplerOptions): number[] {
  const [sample, values] = [createSampler({ seed: 5, ...options }), Float32Array.from(logits)];
  const counts = logits.map(() => 0);
  for (let i = 0; i < 20_000; i++) counts[sample(values)]++;
  return counts.map((count) => count / 20_000);
}

/** Four standard deviations of a share of 20,000 draws, at most. */
const TOLERANCE = 4 * Math.sqrt(0.25 / 20_000);

/** ln 1, ln 2, ln 3, ln 4: probabilities 0.1, 0.2, 0.3, 0.4 at temperature 1. */
const logits = [1, 2, 3, 4].map(Math.log);

const cases: [string, SamplerOptions, number[]][] = [
  ["temperature 1", {}, [0.1, 0.2, 0.3, 0.4]],
  ["temperature 1/2", { temperature: 0.5 }, [1 / 30, 4 / 30, 9 / 30, 16 / 30]],
  ["top-k 2", { topK: 2 }, [0, 0, 3 / 7, 4 / 7]],
  ["top-p 0.6", { topP: 0.6 }, [0, 0, 3 / 7, 4 / 7]],
  ["top-p 0.75", { topP: 0.75 }, [0, 2 / 9, 3 / 9, 4 / 9]],
  ["top-p 0.01", { topP: 0.01 }, [0, 0, 0, 1]],
  ["top-k 3, then top-p 0.4 of those", { topK: 3, topP: 0.4 }, [0, 0, 0, 1]],
  ["top-k 3, then top-p 0.5 of those", { topK: 3, topP: 0.5 }, [0, 0, 3 / 7, 4 / 7]],
  ["top-k of more than there are", { topK: 100 }, [0.1, 0.2, 0.3, 0.4]],
];

for (const [what, options, expected] of cases) {
  test(`${what} draws by ${expected.map((p) => p.toFixed(2)).join(", ")}`, () => {
    shares(logits, options).forEach((share, i) => {
      assert.ok(Math.abs(share - expected[i]) <= (expected[i] && TOLERANCE), `${i}: ${share}`);
    });
  });
}

test("temperature 0 and top-k 1 take the first of the largest", () => {
  for (const options of [{ temperature: 0 }, { topK: 1 }]) {
    assert.equal(createSampler(options)(Float32Array.of(1, 3, 3, 2)), 1);
  }
});

test("a seed repeats, and another differs", () => {
  const draw = (seed: number) => {
    const sample = createSampler({ seed });
    return Array.from({ length: 50 }, () => sample(Float32Array.from(logits))).join("");
  };
  assert.equal(draw(1), draw(1));
  assert.equal(new Set([0, 1, 2, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1].map(draw)).size, 6);
});

test("the same seed draws the same on every runtime", () => {
  const sample = createSampler({ seed: 42, temperature: 0.8, topP: 0.9 });
  const drawn = Array.from({ length: 24 }, () => sample(Float32Array.from(logits))).join("");
  assert.equal(drawn, "321333221133333322232233");
});

test("top-p of 50,000 tokens counts those that a full sort would", () => {
  const next = normal(3);
  const many = Float32Array.from({ length: 50_000 }, () => 4 * next());
  const weights = [...many].map((logit) => Math.exp(logit));
  const total = weights.reduce((a, b) => a + b);
  const order = weights.map((_, i) => i).sort((a, b) => weights[b] - weights[a]);
  const kept = new Set<number>();
  for (let held = 0; held < 0.95 * total;) {
    const i = order[kept.size];
    held += weights[i];
    kept.add(i);
  }
  const sample = createSampler({ topP: 0.95, seed: 1 });
  for (let i = 0; i < 200; i++) assert.ok(kept.has(sample(many)));
});

test("tokens of no probability are never drawn", () => {
  const sample = createSampler();
  const values = Float32Array.of(-Infinity, 0, -Infinity);
  for (let i = 0; i < 1000; i++) assert.equal(sample(values), 1);
});

test("uniform numbers fill [0, 1) evenly", () => {
  const random = createRandom(9);
  const bins = new Array(10).fill(0);
  for (let i = 0; i < 100_000; i++) bins[Math.floor(10 * random())]++;
  for (const bin of bins) assert.ok(Math.abs(bin - 10_000) < 5 * Math.sqrt(9000));
});

const refused: [SamplerOptions, RegExp][] = [
  [{ temperature: -1 }, /temperature must be 0 or more: got -1$/],
  [{ temperature: NaN }, /temperature must be 0 or more: got NaN$/],
  [{ topK: 0 }, /top-k must be 1 or more: got 0$/],
  [{ topK: 1.5 }, /top-k/],
  [{ topP: 0 }, /top-p must be above 0 and at most 1: got 0$/],
  [{ topP: 1.1 }, /top-p/],
  [{ seed: -1 }, /seed must be a whole number/],
  [{ seed: 2 ** 53 }, /seed/],
];

for (const [options, message] of refused) {
  test(`${JSON.stringify(options)} is refused`, () => {
    assert.throws(() => createSampler(options), { name: "RangeError", message });
  });
}

for (const bad of [NaN, Infinity]) {
  test(`a logit of ${bad} is refused`, () => {
    for (const temperature of [0, 1]) {
      assert.throws(() => createSampler({ temperature })(Float32Array.of(1, bad, 2)), {
        name: "RangeError",
        message: `Cannot choose a token as its logit must be a number: got ${bad}`,
      });
    }
  });
}
