import assert from "node:assert/strict";
import { test } from "node:test";
import { DTYPE_BITS, dtypes, isDtype, MAX_U64, tensorBytes } from "../lib/dtype.ts";

test("the table has the 22 dtypes of the format in the reference's order", () => {
  assert.equal(
    dtypes.join(" "),
    "BOOL F4 F6_E2M3 F6_E3M2 U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ " +
      "I16 U16 F16 BF16 I32 U32 F32 C64 F64 I64 U64",
  );
});

test("isDtype() takes exact names and nothing inherited", () => {
  assert.ok(isDtype("BF16"));
  for (const word of ["bf16", "", "constructor", "__proto__", "F8"]) assert.ok(!isDtype(word));
});

test("tensorBytes() multiplies the shape by the bits of each dtype", () => {
  for (const dtype of dtypes) assert.equal(tensorBytes(dtype, [3, 8]), 3 * DTYPE_BITS[dtype]);
});

test("tensorBytes() gives one element for rank 0 and none for an empty shape", () => {
  assert.equal(tensorBytes("F32", []), 4);
  assert.equal(tensorBytes("F32", [4, 0, 9]), 0);
});

test("tensorBytes() refuses a sub-byte tensor that does not end on a byte", () => {
  assert.equal(tensorBytes("F6_E2M3", [4]), 3);
  assert.throws(() => tensorBytes("F6_E2M3", [3]), /must end on a whole byte: got 18 bits/);
  assert.throws(() => tensorBytes("F4", [1]), /must end on a whole byte: got 4 bits/);
});

test("tensorBytes() checks the product from left to right against 2^64 - 1", () => {
  assert.equal(tensorBytes("U8", [0, MAX_U64]), 0);
  assert.equal(tensorBytes("U8", [0, MAX_U64, 2]), 0);
  assert.throws(() => tensorBytes("U8", [MAX_U64, 2, 0]), /below 2\^64 at every step/);
  assert.throws(() => tensorBytes("U8", [2 ** 32, 2 ** 32, 0]), /below 2\^64 at every step/);
  assert.throws(() => tensorBytes("U64", [2n ** 58n]), /below 2\^64 at every step/);
});

test("tensorBytes() stays exact up to 2^53 - 1 bytes and refuses more", () => {
  assert.equal(tensorBytes("U8", [Number.MAX_SAFE_INTEGER]), Number.MAX_SAFE_INTEGER);
  assert.throws(() => tensorBytes("U8", [2n ** 53n]), /below 2\^53: got 9007199254740992/);
});
