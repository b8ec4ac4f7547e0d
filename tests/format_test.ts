import { test } from "node:test";
import assert from "node:assert/strict";
import {
  customFormat,
  exMy,
  format,
  formatNames,
  moreFormatNames,
  specialFormats,
} from "../lib/format.ts";
import { dequantize, quantize } from "../lib/quantizer.ts";

test("each family has a sym and an asym format, which give themselves back by name", () => {
  for (const family of ["int4", "int3", "fp4", "fp3", "nf4", "nf3"]) {
    for (const side of ["sym", "asym"]) assert.ok(formatNames.includes(`${family}-${side}`));
  }
  for (const name of formatNames) assert.equal(format(name).name, name);
});

test("format() gives custom and small-float formats back by their canonical names", () => {
  for (const made of [customFormat([1, 0, -0.1]), exMy(1, 2, { symmetric: true }), exMy(3, 0)]) {
    assert.deepEqual(format(made.name), made);
  }
});

test("format() takes a name in any case for the same format", () => {
  for (const name of [...formatNames, "fp4+5-asym", "e1m2-sym", "custom:-1,0,2e-3-asym"]) {
    assert.deepEqual(format(name.toUpperCase()), format(name), name);
  }
});

test("levels by code, grid and codes tell the same story", () => {
  for (const name of [...formatNames, "e1m1-sym", "custom:3,-1-asym"]) {
    const { levels, grid, codes, bits, zeroCode } = format(name);
    assert.equal(levels.length, 2 ** bits, name);
    assert.deepEqual([...codes].map((code) => levels[code]), [...grid], name);
    assert.deepEqual([...grid], [...grid].sort((a, b) => a - b), name);
    if (grid.includes(0)) assert.ok(Object.is(levels[zeroCode], 0), name);
  }
});

test("FP4 has 15 levels and FP3 has 7: no code stands for -0", () => {
  assert.equal(format("fp4-asym").grid.length, 15);
  assert.equal(format("fp3-asym").grid.length, 7);
});

test("a format that does not exist is refused by name", () => {
  for (const name of ["nf5-asym", "nf4", "", "custom:-asym", "custom:1,x-sym", "toString-sym"]) {
    assert.throws(() => format(name), { name: "RangeError", message: /^Cannot / }, name);
  }
});

test("a format without its side is told how to spell it", () => {
  for (const name of ["nf4", "int3", "e1m2", "custom:-1,0,1"]) {
    assert.throws(() => format(name), { message: RegExp(`did you mean "${name}-asym"\\?$`) });
  }
  assert.throws(() => format("custom:0"), { message: /NUMBERS-sym\|asym$/ });
});

test("custom levels must be 2 to 16 different finite numbers", () => {
  const bad = [[1], [...Array(17).keys()], [0, Infinity], [0, NaN], [1, 1], [1e39, 0], [0, -0]];
  for (const levels of bad) assert.throws(() => customFormat(levels), RangeError, `${levels}`);
});

test("small floats take 3 or 4 bits", () => {
  for (const [e, m] of [[0, 3], [4, 0], [2, 2], [1, 0]]) {
    assert.throws(() => exMy(e, m), RangeError);
  }
});

test("a stranger's codebook works at once: one literal", () => {
  const book = customFormat([-1, -0.6, -0.3, -0.1, 0, 0.1, 0.3, 0.6, 1]);
  const w = Float32Array.of(1, -0.6, 0.3, 0);
  const q = quantize(w, { rows: 1, cols: 4, format: book, group: "row" });
  dequantize(q).forEach((value, i) => assert.ok(Math.abs(value - w[i]) < 1e-3));
});

test("fp4+5 is FP4 with one level more in place of -0, and so on", () => {
  const plain = [...format("fp4-sym").grid];
  const { grid, bits, codes, name, scaling } = format("fp4+5-asym");
  assert.deepEqual([...grid], [...plain, 5].sort((a, b) => a - b));
  assert.deepEqual([bits, codes.length, name, scaling], [4, 16, "fp4+5-asym", "two"]);
  assert.deepEqual([...format("fp3-6-sym").grid], [-6, -4, -2, -1, 0, 1, 2, 4]);
  for (const wrong of ["fp4+6-sym", "fp4-0-asym", "nf4+5-sym", "fp4+x-sym", "fp3+1e99-asym"]) {
    assert.throws(() => format(wrong), { name: "RangeError" }, wrong);
  }
});

test("a value that its name writes with an exponent is read again", () => {
  for (const word of ["+0.0000001", "-1e-7", "+1e21", "-1E+21", "+2.5e0"]) {
    const made = format(`fp4${word}-asym`);
    assert.deepEqual(format(made.name), made);
    assert.ok(made.grid.includes(Math.fround(Number(word))), made.name);
  }
  assert.equal(format("fp4+0.0000001-asym").name, "fp4+1e-7-asym");
});

test("specialFormats() gives what the free code of FP4 and FP3 may be, and nothing for others", () => {
  const names = (name: string) => specialFormats(format(name)).map(({ name }) => name);
  assert.deepEqual(names("fp4-sym"), ["fp4+5-sym", "fp4-5-sym", "fp4+8-sym", "fp4-8-sym"]);
  assert.equal(names("fp3-asym").length, 4);
  assert.deepEqual(names("nf4-asym"), []);
});

test("more formats are those that the error message and the help speak of", () => {
  for (const name of moreFormatNames) assert.equal(format(name).name, name);
  assert.equal(new Set([...moreFormatNames, ...formatNames]).size, 40);
});
