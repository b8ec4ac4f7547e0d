import { test } from "node:test";
import assert from "node:assert/strict";
import { type Format, format, formatNames } from "../lib/format.ts";
import type { Group, QuantizedMatrix } from "../lib/pack.ts";
import { dequantize, groupScales, quantize, rowCodes } from "../lib/quantizer.ts";
import { fill, normal, uniform } from "./random.ts";

const EVERY = [
  ...formatNames,
  "e1m2-asym",
  "e3m0-asym",
  "e1m1-sym",
  "custom:-1,-0.4,0,0.3,0.8,2-asym",
];
const FLOATS = EVERY.filter((name) =>
  format(name).scaling !== "zero-point" && !name.startsWith("int")
);

/** One group of weights, quantised on its own. */
function oneGroup(w: Float32Array, name: string): QuantizedMatrix {
  return quantize(w, { rows: 1, cols: w.length, format: name, group: "row" });
}

/** Indices in the ascending grid, as the paper numbers levels; FP grids there hold -0 before +0. */
function levelIndices(q: QuantizedMatrix): number[] {
  const index = [...rowCodes(q, 0)].map((code) => [...q.format.codes].indexOf(code));
  if (q.format.decode === "table") return index;
  const zero = q.format.grid.indexOf(0);
  return index.map((i) => i > zero ? i + 1 : i);
}

test("the paper's example gets the paper's codes", () => {
  const w = Float32Array.of(0.9, -0.3, 0.05, -0.12, 0.42, -0.02, 0, 0.18);
  const golden: Record<string, string> = {
    "fp4-asym": "15 0 9 3 13 6 7 10",
    "fp4-sym": "15 3 9 5 13 7 7 10",
    "nf4-asym": "15 0 8 3 12 6 7 9",
    "nf4-sym": "15 4 8 6 12 7 7 9",
    "fp3-asym": "7 0 3 1 6 3 3 5",
    "fp3-sym": "7 2 3 2 6 3 3 5",
    "nf3-asym": "7 0 3 1 5 3 3 4",
    "nf3-sym": "7 2 3 2 5 3 3 4",
    "int4-asym": "15 0 5 3 9 4 4 6",
    "int3-asym": "7 0 2 1 4 2 2 3",
  };
  for (const [name, codes] of Object.entries(golden)) {
    assert.equal(levelIndices(oneGroup(w, name)).join(" "), codes, name);
  }
});

test("ties go to the lower level on both sides", () => {
  const up = Float32Array.of(0.75, 0.0625, 0.3125, 0.625, 0.375); // times 8: 6, 0.5, 2.5, 5, 3
  const q = oneGroup(up, "fp4-sym");
  assert.deepEqual(dequantize(q), Float32Array.of(0.75, 0.0625, 0.25, 0.5, 0.375));
  const down = oneGroup(up.map((weight) => -weight), "fp4-asym");
  assert.deepEqual(dequantize(down), Float32Array.of(-0.75, -0.0625, -0.375, -0.75, -0.375));
});

/** The rules again, by brute force over all levels in f64, written apart from the quantiser. */
function oracle(w: Float32Array, f: Format): { scales: number[]; levels: number[] } {
  const hi = Math.max(0, ...w), lo = Math.max(0, ...w.map((weight) => -weight));
  const reach = [f.grid[f.grid.length - 1], -f.grid[0]];
  if (f.name.startsWith("int")) {
    const n = f.bits, sym = f.scaling === "one";
    const top = sym ? 2 ** (n - 1) - 1 : 2 ** n - 1;
    const s = Math.f16round((sym ? Math.max(hi, lo) : hi + lo) / top);
    const even = (v: number) => {
      const below = Math.floor(v);
      return v - below !== 0.5 ? Math.round(v) : below + Math.abs(below % 2);
    };
    const z = sym || s === 0 ? 0 : even(lo / s);
    const clamp = (v: number, a: number, b: number) => Math.min(Math.max(v, a), b);
    const q = [...w].map((weight) => s === 0 ? 0 : even(weight / s));
    return {
      scales: [s, sym ? s : z],
      levels: q.map((v) => (sym ? clamp(v, -top, top) : clamp(v + z, 0, top) - z) + 0),
    };
  }
  const pair = f.scaling === "two"
    ? [Math.f16round(hi / reach[0]), Math.f16round(lo / reach[1])]
    : Array(2).fill(Math.f16round(hi >= lo ? hi / reach[0] : lo / reach[1]));
  const levels = [...w].map((weight) => {
    const s = pair[weight < 0 ? 1 : 0];
    let best = NaN;
    for (const level of f.grid) {
      if (weight < 0 ? level > 0 : level < 0) continue;
      const closer = Math.abs(weight - level * s) < Math.abs(weight - best * s);
      if (Number.isNaN(best) || closer) best = level;
    }
    return best;
  });
  return { scales: pair, levels };
}

test("codes and scales are those of a brute-force search, in every format and group", () => {
  const next = normal(3);
  for (const name of EVERY) {
    for (
      const [cols, group] of [[93, 32], [172, "row"], [384, 128], [40, 16]] as [number, Group][]
    ) {
      const w = fill(3 * cols, () => next() * 0.05);
      const q = quantize(w, { rows: 3, cols, format: name, group });
      const width = group === "row" ? cols : group;
      for (let row = 0; row < 3; row++) {
        const codes = rowCodes(q, row);
        for (let start = 0, g = 0; start < cols; start += width, g++) {
          const end = Math.min(start + width, cols);
          const wanted = oracle(w.subarray(row * cols + start, row * cols + end), q.format);
          const { positive, negative, zero } = groupScales(q, row, g);
          const second = q.format.scaling === "zero-point" ? zero : negative;
          assert.deepEqual([positive, second], wanted.scales, `${name} row ${row} group ${g}`);
          const levels = [...codes.subarray(start, end)].map((code) =>
            q.format.levels[code] - zero
          );
          assert.deepEqual(levels, wanted.levels, `${name} row ${row} group ${g}`);
        }
      }
    }
  }
});

test("a weight on each border, and one f32 step to each side, goes where the rule says", () => {
  for (const name of FLOATS) {
    const f = format(name);
    const reach = Math.max(f.grid[f.grid.length - 1], -f.grid[0]);
    const sides = [f.grid[f.grid.length - 1], f.grid[0]];
    const borders = [...f.grid].slice(1).map((level, i) => Math.fround((level + f.grid[i]) / 2));
    const around = borders.flatMap((border) => {
      const bits = new Int32Array(Float32Array.of(border).buffer)[0];
      return [...new Float32Array(Int32Array.of(bits - 1, bits, bits + 1).buffer)];
    }).filter((weight) => Math.abs(weight) <= reach);
    const w = Float32Array.from([...sides, ...around]);
    const q = oneGroup(w, name);
    const levels = [...rowCodes(q, 0)].map((code) => f.levels[code]);
    assert.deepEqual(levels, oracle(w, f).levels, name);
  }
});

/** Mean |error| over N(0,1) and its standard deviation, RELIABILITY 4.2: groups 32, 64, 128. */
const EXPECTED: Record<string, [number, number][]> = {
  "nf4-sym": [[0.06773, 6e-5], [0.07277, 7e-5], [0.07682, 8e-5]],
  "nf4-asym": [[0.06103, 5e-5], [0.06777, 6e-5], [0.07279, 6e-5]],
  "fp4-sym": [[0.0755, 5e-5], [0.08026, 6e-5], [0.08381, 8e-5]],
  "fp4-asym": [[0.06868, 6e-5], [0.07552, 6e-5], [0.08028, 6e-5]],
  "nf3-sym": [[0.14827, 1.5e-4], [0.16219, 1.3e-4], [0.17385, 1.7e-4]],
  "nf3-asym": [[0.13108, 1e-4], [0.14842, 1.4e-4], [0.16224, 1.6e-4]],
  "fp3-sym": [[0.1702, 1.4e-4], [0.185, 1.9e-4], [0.19719, 2.2e-4]],
  "fp3-asym": [[0.15133, 1.2e-4], [0.17031, 1.4e-4], [0.18508, 1.6e-4]],
  "int4-asym": [[0.06896, 1e-4], [0.0781, 1e-4], [0.08647, 1e-4]],
  "int4-sym": [[0.08119, 1e-4], [0.09125, 1e-4], [0.10017, 1e-4]],
  "int3-asym": [[0.14777, 2e-4], [0.16736, 2e-4], [0.18535, 2e-4]],
  "int3-sym": [[0.18965, 2e-4], [0.21308, 2e-4], [0.23384, 2e-4]],
};

test("mean error on a million normal weights is the published one within 7 deviations", () => {
  const rows = 1024, cols = 1024;
  const w = fill(rows * cols, normal(4));
  for (const [name, byGroup] of Object.entries(EXPECTED)) {
    [32, 64, 128].forEach((group, i) => {
      const back = dequantize(quantize(w, { rows, cols, format: name, group }));
      let sum = 0;
      for (let j = 0; j < w.length; j++) sum += Math.abs(w[j] - back[j]);
      const [mean, deviation] = byGroup[i];
      const off = Math.abs(sum / w.length - mean) / deviation;
      assert.ok(off < 7, `${name} g${group}: ${sum / w.length}, ${off.toFixed(1)} deviations off`);
    });
  }
});

test("quantising what was dequantised changes nothing", () => {
  const w = fill(8 * 256, normal(5));
  for (const name of EVERY) {
    const once = dequantize(quantize(w, { rows: 8, cols: 256, format: name, group: 64 }));
    const twice = dequantize(quantize(once, { rows: 8, cols: 256, format: name, group: 64 }));
    // A scale comes back exactly if its extreme does; zero-points and integers may lose an end.
    if (FLOATS.includes(name)) assert.deepEqual(twice, once, name);
  }
});

test("weights times a power of two keep their codes and scale their scales", () => {
  const w = fill(4 * 128, normal(6));
  for (const name of EVERY) {
    const options = { rows: 4, cols: 128, format: name, group: 32 };
    const q = quantize(w, options), doubled = quantize(w.map((weight) => 4 * weight), options);
    assert.deepEqual(doubled.codes, q.codes, name);
    assert.deepEqual(dequantize(doubled), dequantize(q).map((weight) => 4 * weight), name);
  }
});

test("permuting rows permutes codes and scales", () => {
  const next = normal(7);
  const rows = [0, 1, 2].map(() => fill(96, next));
  for (const name of EVERY) {
    const at = (order: number[]) => {
      const w = new Float32Array(288);
      order.forEach((row, i) => w.set(rows[row], 96 * i));
      return dequantize(quantize(w, { rows: 3, cols: 96, format: name, group: 32 }));
    };
    assert.deepEqual(at([2, 0, 1]).subarray(0, 96), at([0, 1, 2]).subarray(192), name);
  }
});

test("mirrored groups have equal scales and gain nothing from the second", () => {
  const half = fill(64, uniform(8));
  const w = Float32Array.from([...half, ...half.map((weight) => -weight)]);
  const { positive, negative } = groupScales(oneGroup(w, "fp4-asym"), 0, 0);
  assert.equal(positive, negative);
  assert.deepEqual(dequantize(oneGroup(w, "fp4-asym")), dequantize(oneGroup(w, "fp4-sym")));
});

test("zero, -0 and one-sided groups come back finite, zeros exact", () => {
  const groups = [
    new Float32Array(32),
    new Float32Array(32).fill(-0),
    new Float32Array(32).fill(0.5),
    new Float32Array(32).fill(-0.5),
    fill(32, uniform(9)),
    fill(32, uniform(9)).map((weight) => -weight),
  ];
  for (const name of EVERY) {
    groups.forEach((w, i) => {
      const q = oneGroup(w, name);
      const back = dequantize(q);
      assert.ok(back.every(Number.isFinite), `${name} group ${i}`);
      if (i < 2) assert.ok(back.every((weight) => weight === 0), `${name} zeros`);
      if (i < 2) assert.ok(rowCodes(q, 0).every((code) => code === zeroCodeOf(q)), `${name} codes`);
      const extreme = Math.max(...w.map(Math.abs));
      const worst = Math.max(...w.map((weight, j) => Math.abs(weight - back[j])));
      const step = Math.max(...[...q.format.grid].slice(1).map((l, k) => l - q.format.grid[k]));
      assert.ok(worst <= extreme * step, `${name} group ${i}: ${worst}`);
    });
  }
});

function zeroCodeOf(q: QuantizedMatrix): number {
  return q.format.scaling === "zero-point" ? 0 : q.format.zeroCode;
}

test("a constant group is exact but for the rounding of its scale", () => {
  for (const name of FLOATS) {
    for (const constant of [0.37, -0.37]) {
      const back = dequantize(oneGroup(new Float32Array(32).fill(constant), name))[0];
      const { grid, scaling } = format(name);
      if (scaling === "one" && grid[0] !== -grid[grid.length - 1]) continue;
      assert.ok(Math.abs(back - constant) <= 2 ** -11 * 0.37, `${name} ${back}`);
    }
  }
});

test("subnormal and huge weights keep their precision by the tensor's scaleExponent", () => {
  for (const magnitude of [1e-44, 1e-30, 1e-6, 1e7, 3e38]) {
    const w = fill(64, uniform(10)).map((weight) => Math.fround((weight - 0.5) * 2 * magnitude));
    for (const name of EVERY) {
      const q = oneGroup(w, name);
      const back = dequantize(q);
      const extreme = Math.max(...w.map(Math.abs));
      assert.notEqual(q.scaleExponent, 0, `${name} ${magnitude}`);
      assert.ok(back.every(Number.isFinite), `${name} ${magnitude}`);
      const worst = Math.max(...w.map((weight, i) => Math.abs(weight - back[i])));
      assert.ok(worst <= 0.6 * extreme + 1e-45, `${name} ${magnitude}: ${worst / extreme}`);
    }
  }
});

test("the largest scale is stored in [2^14, 2^15) once an exponent is needed, never subnormal", () => {
  const w = new Float32Array(4 * 16).fill(1);
  w.set([1e-6, 1e-6], 16); // a group that needs a scale below 2^-14
  w.fill(0, 18, 32);
  const q = quantize(w, { rows: 1, cols: 64, format: "nf4-sym", group: 16 });
  const stored = [...new Float16Array(q.scales.buffer)];
  assert.equal(q.scaleExponent, 14);
  assert.equal(stored[0], 2 ** 14);
  assert.ok(stored.every((scale) => scale === 0 || scale >= 2 ** -14));
  assert.equal(q.underflows, 0);
});

test("a scale that underflows even so is stored as 0 and counted, its weights become 0", () => {
  const w = new Float32Array(32).fill(1e30);
  w.fill(1e-30, 16);
  for (const name of EVERY) {
    const q = quantize(w, { rows: 1, cols: 32, format: name, group: 16 });
    assert.equal(q.underflows, 1, name);
    assert.ok(dequantize(q).subarray(16).every((weight) => weight === 0), name);
  }
});

test("one outlier costs its own group half a step, others nothing", () => {
  const w = fill(64, normal(11));
  const calm = dequantize(quantize(w, { rows: 1, cols: 64, format: "nf4-asym", group: 32 }));
  w[3] = 1000;
  const back = dequantize(quantize(w, { rows: 1, cols: 64, format: "nf4-asym", group: 32 }));
  assert.equal(back[3], 1000);
  assert.deepEqual(back.subarray(32), calm.subarray(32));
});

test("NaN and infinite weights are refused by tensor and index", () => {
  for (const bad of [NaN, Infinity, -Infinity]) {
    const w = new Float32Array(20);
    w[13] = bad;
    const options = { rows: 2, cols: 10, format: "nf4-asym", name: "layer.weight" };
    assert.throws(() => quantize(w, options), {
      name: "RangeError",
      message:
        `Cannot quantise "layer.weight" [2, 10] as weights must be finite: got ${bad} at [1, 3]`,
    });
  }
});

test("a shape that does not fit is refused", () => {
  assert.throws(() => quantize(new Float32Array(5), { rows: 2, cols: 3, format: "nf4-sym" }), {
    name: "TypeError",
    message: 'Cannot quantise "" [2, 3] as W must hold 6 numbers: got 5',
  });
});

test("empty matrices pass", () => {
  for (const [rows, cols] of [[0, 32], [3, 0], [0, 0]]) {
    const q = quantize(new Float32Array(0), { rows, cols, format: "nf4-asym" });
    assert.equal(dequantize(q).length, 0);
  }
});

test("asym is no worse than sym on weights as a whole", () => {
  const w = fill(64 * 512, normal(12));
  const error = (name: string) =>
    dequantize(quantize(w, { rows: 64, cols: 512, format: name })).reduce(
      (sum, weight, i) => sum + (weight - w[i]) ** 2,
      0,
    );
  for (const family of ["fp4", "fp3", "nf4", "nf3"]) {
    assert.ok(error(`${family}-asym`) < error(`${family}-sym`), family);
  }
});
