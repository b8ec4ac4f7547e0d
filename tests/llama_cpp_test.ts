/**
 * Claims about llama.cpp's quantisers beside ours: that what is called is what its authors publish,
 * that its errors are those we have quoted, and that ours are below them at the same bits.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { results, rivalOf } from "../bench/accuracy.ts";
import { type Ggml, ggmlBits, type GgmlName, ggmlTypes, openGgml } from "../bench/llama_cpp.ts";
import { distributions, madeTensor } from "../bench/made_weights.ts";
import { measure, theirs } from "../bench/quantisers.ts";
import { createScorer } from "../bench/scored_weights.ts";
import { f16Bits, f16Value } from "../lib/float16.ts";
import { runFile } from "./afpq_process.ts";
import { runChild } from "./child_process.ts";
import { fill, normal } from "./random.ts";
import { testUnless } from "./test_unless.ts";

/** The library, or why there is none; in the gate, which sets WEBGPU, that fails. */
const opened = await openGgml().catch((error: Error) => {
  if (process.env.WEBGPU) throw error;
  return error.message;
});
const absent = typeof opened === "string" ? opened : null;
const ggml = opened as Ggml;
const types = Object.keys(ggmlTypes) as GgmlName[];

/** The Q4_0 of ggml's authors: the extreme of 32 weights becomes -8, and what follows is rounded. */
function q4_0(w: Float32Array): Float32Array {
  const values = new Float32Array(w.length);
  for (let start = 0; start < w.length; start += 32) {
    const block = w.subarray(start, start + 32);
    const extreme = block.reduce((most, v) => Math.abs(v) > Math.abs(most) ? v : most, 0);
    const d = Math.fround(extreme / -8), inverse = d === 0 ? 0 : Math.fround(1 / d);
    const stored = f16Value(f16Bits(d));
    block.forEach((v, i) => {
      const code = Math.min(15, Math.trunc(Math.fround(Math.fround(v * inverse) + 8.5)));
      values[start + i] = (code - 8) * stored;
    });
  }
  return values;
}

testUnless(absent, "ggml's Q4_0 is what its authors publish, weight by weight", () => {
  const shape = { rows: 6, cols: 96, type: "Q4_0" } as const;
  const w = fill(6 * 96, normal(5));
  w.fill(0, 32, 64);
  const blocks = ggml.quantize(w, shape);
  assert.equal(blocks.length, 6 * 3 * 18);
  assert.deepEqual(ggml.dequantize(blocks, shape), q4_0(w));
});

/** Relative error x 1000 of normal weights, measured before with another build of ggml (d99724f2). */
const QUOTED: Record<GgmlName, number> = {
  ...{ IQ3_XXS: 45.5, Q3_K: 22.8, IQ3_S: 27.5 },
  ...{ MXFP4: 13.0, IQ4_XS: 5.89, Q4_0: 7.38, IQ4_NL: 5.8, Q4_K: 5.08 },
};

for (const type of types) {
  testUnless(absent, `${type} leaves of normal weights what is quoted of it`, async () => {
    const matrices = new Map([["normal", madeTensor("normal", { rows: 32, cols: 4096 })]]);
    const { bitsPerWeight, error } = await measure(theirs(ggml, type), matrices);
    assert.equal(bitsPerWeight, ggmlBits(type));
    assert.ok(Math.abs(1000 * error / QUOTED[type] - 1) < 0.03, `${1000 * error}`);
  });
}

for (const name of Object.keys(distributions) as (keyof typeof distributions)[]) {
  testUnless(
    absent,
    `of ${name} weights a search leaves less than any type at its bits`,
    async () => {
      const matrices = new Map([[name, madeTensor(name, { rows: 32, cols: 4096 })]]);
      const all = await results(ggml, matrices);
      for (const one of all.filter(({ type }) => type)) {
        const rival = rivalOf(one, all)!;
        assert.ok(rival.bitsPerWeight <= one.bitsPerWeight + 0.005, JSON.stringify(rival));
        assert.ok(rival.error < 0.95 * one.error, JSON.stringify([one, rival]));
      }
    },
  );
}

test("madeTensor() has the moments of its distribution", () => {
  const moments = { normal: [1, 3], laplace: [2, 6], student: [5 / 3, 9] };
  for (const name of Object.keys(distributions) as (keyof typeof distributions)[]) {
    const next = lehmer(7), draw = distributions[name];
    const w = fill(1 << 18, () => draw(next));
    const mean = (power: number) => w.reduce((sum, v) => sum + v ** power, 0) / w.length;
    const [variance, kurtosis] = moments[name];
    assert.ok(Math.abs(mean(1)) < 0.02 && Math.abs(mean(2) / variance - 1) < 0.03, name);
    const tails = mean(4) / mean(2) ** 2 / kurtosis; // the fourth moment of t is slow to settle
    assert.ok(Math.abs(tails - 1) < (name === "student" ? 0.4 : 0.05), `${name}: ${tails}`);
  }
});

/** Uniform numbers in (0, 1) of another kind than those under test. */
function lehmer(state: number): () => number {
  return () => (state = state * 48271 % 2147483647) / 2147483647;
}

testUnless(absent, "what ggml cannot take is refused", () => {
  const w = new Float32Array(384);
  assert.throws(() => ggml.quantize(w, { rows: 1, cols: 384, type: "Q4_K", name: "a" }), {
    name: "RangeError",
    message: 'Cannot quantise "a" [1, 384] to Q4_K as columns must be a multiple of 256: got 384',
  });
  assert.throws(() => ggml.quantize(w, { rows: 2, cols: 384, type: "Q4_0" }), TypeError);
  assert.throws(
    () => ggml.quantize(w.fill(NaN), { rows: 4, cols: 96, type: "IQ4_NL" }),
    /weights must be finite: got NaN$/,
  );
  assert.throws(
    () => ggml.dequantize(new Uint8Array(17), { rows: 1, cols: 32, type: "Q4_0" }),
    /blocks of Q4_0 must be 18 bytes: got 17$/,
  );
});

test("ggml is not looked for on other machines, in one line", async () => {
  const module = new URL("../bench/llama_cpp.ts", import.meta.url).href;
  const { stdout } = await runChild(`import process from "node:process";
    Object.defineProperty(process, "platform", { value: "darwin" });
    const { openGgml } = await import("${module}");
    await openGgml().catch(({ message }) => console.log(message));`);
  assert.equal(
    stdout,
    `Cannot open ggml as it is for Linux on x64: got darwin on ${process.arch}\n`,
  );
});

test("weights that are the model's own lose nothing", async () => {
  const scorer = await createScorer(1);
  const { kl, nllDifference } = await scorer.score(new Map());
  scorer.close();
  assert.deepEqual([kl.mean, nllDifference.mean], [0, 0]);
});

test("bench/accuracy.ts says in one line what it cannot understand", async () => {
  const path = fileURLToPath(new URL("../bench/accuracy.ts", import.meta.url));
  for (
    const [args, wanted] of [
      [["--window", "3"], /^Cannot understand "--window" as a flag: there is "--windows"\n$/],
      [
        ["--windows", "99"],
        /^Cannot read "99" as --windows must be a whole number from 0 to 65: .*\n$/,
      ],
    ] as const
  ) {
    const { code, stderr } = await runFile(path, args);
    assert.equal(code, 2);
    assert.match(stderr, wanted);
  }
});
