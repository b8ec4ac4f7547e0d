import { test } from "node:test";
import assert from "node:assert/strict";
import { format } from "../lib/format.ts";
import {
  codesStart,
  factorOf,
  putFactor,
  putScaleCode,
  scaleBytes,
  scaleCode,
  scalesShape,
  storedPair,
} from "../lib/pack_scales.ts";
import { quantize } from "../lib/quantizer.ts";
import { scaleFormat } from "../lib/scale_format.ts";
import { fill, normal, uniform } from "./random.ts";

/** Bytes a row by format and storage: seven groups. */
const ROW_BYTES: [string, string, number][] = [
  ["nf4-asym", "e1m3-row", 2 + 8], // seven pairs of half a byte, and an even end
  ["nf4-asym", "e1m3-tensor", 7],
  ["nf4-sym", "e1m3-row", 2 + 4],
  ["nf4-sym", "e1m3-tensor", 4],
  ["int4-asym", "e4m4-row", 2 + 14],
  ["fp4-sym", "e8m0-tensor", 7],
];

test("rows take the bytes that the layout says", () => {
  for (const [name, scales, bytes] of ROW_BYTES) {
    const shape = { rows: 3, cols: 200, group: 32, format: format(name) };
    const coded = { ...shape, scaleFormat: scaleFormat(scales) };
    assert.deepEqual([scalesShape(coded), scaleBytes(coded)], [[3, bytes], 1], `${name} ${scales}`);
  }
});

test("scaleCode() restores every code, beside a factor or without", () => {
  const next = uniform(1);
  for (const name of ["e1m3-row", "e2m2-tensor", "e4m4-row", "e8m0-tensor"]) {
    const format = scaleFormat(name), start = 6, count = 9;
    const codes = Array.from({ length: count }, () => Math.floor(next() * 2 ** format.bits));
    const bytes = new Uint8Array(start + codesStart(format) + Math.ceil(count * format.bits / 8));
    codes.forEach((code, index) => putScaleCode(bytes, start, index, { format, code }));
    if (format.factor === "row") putFactor(bytes, start, 1.5);
    codes.forEach((code, index) =>
      assert.equal(scaleCode(bytes, start, index, format), code, name)
    );
    assert.ok(bytes.subarray(0, start).every((byte) => byte === 0));
  }
});

test("by hand: a factor of 1.5, then codes from the low end of a byte up", () => {
  const w = fill(64, normal(1));
  const shape = { rows: 1, cols: 64, format: "nf4-asym", group: 32, scales: "e1m3-row" };
  const scales = Uint8Array.of(0x00, 0x3e, 0x70, 0x0f); // 1.5 as f16; (0, 7), (15, 0)
  const q = { ...quantize(w, shape), scales, scaleExponent: 0 };
  assert.equal(factorOf(q, 0), 1.5);
  assert.deepEqual(storedPair(q, 0, 0), [1.5, 1.5 * 1.875]);
  assert.deepEqual(storedPair(q, 0, 1), [1.5 * 3.75, 1.5]);
});
