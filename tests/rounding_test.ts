import { test } from "node:test";
import assert from "node:assert/strict";
import { format } from "../lib/format.ts";
import { encoderOf, roundHalfEven } from "../lib/rounding.ts";

test("roundHalfEven() sends halves to the even neighbour", () => {
  const wanted: [number, number][] = [[0.5, 0], [1.5, 2], [2.5, 2], [-0.5, 0], [-1.5, -2], [
    7.4,
    7,
  ]];
  for (const [value, rounded] of wanted) assert.equal(roundHalfEven(value) + 0, rounded);
  assert.equal(roundHalfEven(0.49999999999999994), 0);
});

test("an encoder writes its own range and nothing else", () => {
  for (const name of ["nf4-asym", "int4-asym"]) {
    const codes = new Uint8Array(6).fill(99);
    const w = Float32Array.of(9, 9, 0, 0, 9, 9);
    encoderOf(format(name))(w, { start: 2, end: 4, at: 1 }, codes, 1, 1);
    assert.deepEqual([...codes].map((code) => code === 99), [true, false, false, true, true, true]);
  }
});

test("weights beyond the reach saturate at the last level", () => {
  const nf4 = format("nf4-asym");
  const codes = new Uint8Array(2);
  for (const [up, down] of [[1.0004, -1.0004], [300, -300], [1e30, -1e30]]) {
    encoderOf(nf4)(Float32Array.of(up, down), { start: 0, end: 2, at: 0 }, codes, 1, 1);
    assert.deepEqual([...codes], [15, 0]);
  }
});

test("a side whose scale is 0 goes to zero, the other side is rounded as ever", () => {
  const codes = new Uint8Array(3);
  const w = Float32Array.of(0.5, -0.5, -1);
  encoderOf(format("nf4-asym"))(w, { start: 0, end: 3, at: 0 }, codes, 0, 1);
  assert.deepEqual([...codes], [7, 2, 0]);
});

test("levels close together are told apart", () => {
  const f = format("custom:0,0.5,0.50001,0.50002,1-sym");
  const codes = new Uint8Array(4);
  const w = Float32Array.of(0.5, 0.50001, 0.50002, 0.75);
  encoderOf(f)(w, { start: 0, end: 4, at: 0 }, codes, 1, 1);
  assert.deepEqual([...codes], [1, 2, 3, 3]);
});
