import { test } from "node:test";
import assert from "node:assert/strict";
import { f16Bits, f16Value, floorLog2, narrow, powerOfTwo, widen } from "../lib/float16.ts";

/** Value of an f16 by its definition, not by the runtime's Float16Array. */
function f16ByDefinition(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (exponent ? (1024 + mantissa) * 2 ** (exponent - 25) : mantissa * 2 ** -24);
}

/** The f64 next to a positive one, up or down. */
function neighbour(value: number, step: 1n | -1n): number {
  const bits = new BigUint64Array(new Float64Array([value]).buffer);
  bits[0] += step;
  return new Float64Array(bits.buffer)[0];
}

const finiteHalves = Array.from({ length: 0x7c00 }, (_, bits) => bits);

test("f16Value() gives every one of the 65,536 values", () => {
  for (let bits = 0; bits < 65536; bits++) {
    assert.ok(Object.is(f16Value(bits), f16ByDefinition(bits)), `bits ${bits}`);
  }
});

test("f16Bits() rounds to nearest even at every border, and one f64 step to each side of it", () => {
  for (const bits of finiteHalves) {
    const above = bits === 0x7bff ? 65536 : f16ByDefinition(bits + 1); // the border to infinity
    const border = (f16ByDefinition(bits) + above) / 2;
    assert.equal(f16Bits(border), bits + (bits & 1), `at the border above ${bits}`);
    assert.equal(f16Bits(neighbour(border, -1n)), bits, `below the border above ${bits}`);
    assert.equal(f16Bits(neighbour(border, 1n)), bits + 1, `over the border above ${bits}`);
    assert.equal(f16Bits(-border), 0x8000 | (bits + (bits & 1)), `at the border below -${bits}`);
  }
});

test("widen() and narrow() restore every f16 and every bf16", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
  for (const dtype of ["F16", "BF16"] as const) {
    const numbers = widen(new Uint8Array(all.buffer), dtype);
    const back = new Uint16Array(narrow(numbers, dtype).buffer);
    for (let bits = 0; bits < 65536; bits++) {
      if (Number.isNaN(numbers[bits])) {
        assert.ok(Number.isNaN(widen(narrow(numbers.subarray(bits, bits + 1), dtype), dtype)[0]));
      } else assert.equal(back[bits], bits, `${dtype} ${bits}`);
    }
  }
});

test("narrow() to bf16 rounds to nearest even at every border, and one f32 step to each side", () => {
  for (let bits = 0; bits < 0x7f80; bits++) {
    const border = bits * 65536 + 0x8000;
    const words = Uint32Array.of(border - 1, border, border + 1);
    const rounded = new Uint16Array(narrow(new Float32Array(words.buffer), "BF16").buffer);
    assert.deepEqual([...rounded], [bits, bits + (bits & 1), bits + 1], `above ${bits}`);
  }
});

test("widen() reads bytes at any offset", () => {
  const bytes = new Uint8Array(9);
  bytes.set(narrow(Float32Array.of(1.5, -2), "F32"), 1);
  assert.deepEqual(widen(bytes.subarray(1), "F32"), Float32Array.of(1.5, -2));
});

test("powerOfTwo() and floorLog2() agree over the whole range", () => {
  for (let exponent = -1022; exponent <= 1023; exponent++) {
    assert.equal(floorLog2(powerOfTwo(exponent)), exponent);
    assert.equal(floorLog2(powerOfTwo(exponent) * 1.999), exponent);
  }
  assert.equal(powerOfTwo(-14), 2 ** -14);
});
