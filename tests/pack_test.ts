import { test } from "node:test";
import assert from "node:assert/strict";
import { format, formatNames } from "../lib/format.ts";
import {
  bitsPerWeight,
  codesShape,
  expectGroup,
  groupsPerRow,
  packRow,
  unitsPerRow,
  unpackRow,
} from "../lib/pack.ts";
import { scalesShape } from "../lib/pack_scales.ts";
import { quantize } from "../lib/quantizer.ts";
import { uniform } from "./random.ts";

/** One format for each way that bits are placed. */
const LAYOUTS = ["fp4-asym", "fp3-asym", "nf4-asym", "nf3-asym"];

test("unpackRow() restores every code at every length", () => {
  const next = uniform(1);
  for (const name of LAYOUTS) {
    const f = format(name);
    for (let cols = 0; cols <= 100; cols++) {
      const codes = new Uint8Array(32 * unitsPerRow(cols)).map(() => next() * 2 ** f.bits);
      const words = new Uint32Array(f.bits * unitsPerRow(cols) + 1);
      packRow(f, codes, words, 1);
      assert.equal(words[0], 0);
      assert.deepEqual(unpackRow(f, words, 1, cols), codes.subarray(0, cols), `${name} ${cols}`);
    }
  }
});

test("every bit of a unit belongs to exactly one bit of one code", () => {
  for (const name of LAYOUTS) {
    const f = format(name);
    const owners = new Uint32Array(32 * f.bits);
    for (let column = 0; column < 32; column++) {
      for (let bit = 0; bit < f.bits; bit++) {
        const codes = new Uint8Array(32);
        codes[column] = 1 << bit;
        const words = new Uint32Array(f.bits);
        packRow(f, codes, words, 0);
        words.forEach((word, i) => {
          for (let b = 0; b < 32; b++) owners[32 * i + b] += word >>> b & 1;
        });
      }
    }
    assert.ok(owners.every((count) => count === 1), `${name}: ${owners}`);
  }
});

test("the layout stays as it was: literal words", () => {
  const codes = (bits: number) =>
    Uint8Array.from({ length: 32 }, (_, c) => (5 * c + 3) % 2 ** bits);
  const nf4 = [0x61c72d83, 0xe94fa50b, 0x61c72d83, 0xe94fa50b];
  const fp4 = [0xa0e8571e, 0x2169d69f, 0xa0e8571e, 0x2169d69f];
  assert.deepEqual([...pack("nf4-asym", codes(4))], nf4);
  assert.deepEqual([...pack("fp4-asym", codes(4))], fp4);
  assert.deepEqual([...pack("nf3-asym", codes(3))], [0x43c67543, 0x75c67543, 0xc6c67543]);
  assert.deepEqual([...pack("fp3-asym", codes(3))], [0x02f23dcd, 0x12b26dcd, 0x02a27ddd]);
});

test("FP4 pairs are f16 2^-14 times their levels after a selection, a shift by 8 and a mask", () => {
  const f = format("fp4-asym");
  const half = new Float16Array(2);
  const word = new Uint32Array(half.buffer);
  const next = uniform(2);
  for (let round = 0; round < 200; round++) {
    const codes = new Uint8Array(32).map(() => next() * 16);
    const [packed] = pack(f.name, codes);
    const other = ((packed << 7) & 0x80808080) | ((packed >>> 3) & 0x7f7f7f7f);
    const pairs = [packed, other, packed << 8, other << 8].map((moved) => moved & 0x8e008e00);
    pairs.forEach((pair, k) => {
      word[0] = pair;
      assert.equal(half[0] * 2 ** 14, f.levels[codes[2 * k]]);
      assert.equal(half[1] * 2 ** 14, f.levels[codes[2 * k + 1]]);
    });
  }
});

function pack(name: string, codes: Uint8Array): Uint32Array {
  const f = format(name);
  const words = new Uint32Array(f.bits * codes.length / 32);
  packRow(f, codes, words, 0);
  return words;
}

test("two scales at group 128 cost 4.25 and 3.25 bits, one scale 4.125 and 3.125", () => {
  const bits = (name: string) => {
    const shape = { rows: 2, cols: 512, format: name, group: 128 };
    return bitsPerWeight(quantize(new Float32Array(1024), shape));
  };
  for (const name of formatNames) {
    const scales = format(name).scaling === "one" ? 0.125 : 0.25;
    assert.equal(bits(name), format(name).bits + scales, name);
  }
});

test("rows of single scales start at whole words", () => {
  const shape = { rows: 3, cols: 300, format: format("nf4-sym"), group: 128 };
  assert.equal(groupsPerRow(shape), 3);
  assert.deepEqual(scalesShape(shape), [3, 4]);
  assert.deepEqual(scalesShape({ ...shape, format: format("nf4-asym") }), [3, 3, 2]);
  assert.deepEqual(codesShape(shape), [3, 40]);
});

test("padding decodes to 0", () => {
  for (const name of formatNames) {
    const w = Float32Array.from({ length: 40 }, (_, i) => Math.sin(i) + 0.2);
    const q = quantize(w, { rows: 1, cols: 40, format: name, group: 32 });
    const padded = unpackRow(q.format, q.codes, 0, 64).subarray(40);
    const zero = q.format.scaling === "zero-point" ? new Float16Array(q.scales.buffer)[3] : 0;
    for (const code of padded) assert.equal(q.format.levels[code] - zero, 0, name);
  }
});

test("a group that is no power of two from 16 to 256, nor the row, is refused", () => {
  for (const group of [0, 8, 24, 512, -16, NaN, 16.5]) {
    assert.throws(() => expectGroup(group), { name: "RangeError", message: /got/ });
  }
});
