import { test } from "node:test";
import assert from "node:assert/strict";
import { F16_SCALES, scaleFormat, scaleStart } from "../lib/scale_format.ts";

const NAMES = ["e1m3-row", "e2m2-row", "e3m1-tensor", "e4m0-tensor", "e1m7-row", "e4m4-row"];
const MORE = ["e5m3-tensor", "e8m0-tensor"];

test("a code's bits, moved and added to the start, are an f32 of its value", () => {
  const bits = new Uint32Array(1), number = new Float32Array(bits.buffer);
  for (const name of [...NAMES, ...MORE]) {
    const format = scaleFormat(name);
    format.values.forEach((value, code) => {
      bits[0] = code * 2 ** (23 - format.mantissa) + scaleStart(format);
      assert.equal(number[0], value, `${name} code ${code}`);
    });
  }
});

test("values ascend, and only e8m0 has codes that are no scale", () => {
  for (const name of [...NAMES, ...MORE]) {
    const { values } = scaleFormat(name);
    assert.ok(values.every((value, code) => code === 0 || value > values[code - 1]), name);
    const none = [...values.keys()].filter((code) =>
      !(values[code] > 0 && values[code] < Infinity)
    );
    assert.deepEqual(none, name.startsWith("e8") ? [0, 255] : [], name);
  }
});

test("f16 has no factor", () => {
  assert.equal(scaleFormat("f16"), F16_SCALES);
  assert.equal(F16_SCALES.factor, null);
});

test("names of no storage are refused", () => {
  for (const name of ["", "e1m3", "e0m4-row", "e2m3-row", "e6m2-row", "e1m3-column", "E1M3-row"]) {
    assert.throws(() => scaleFormat(name), { name: "RangeError" }, name);
  }
});
