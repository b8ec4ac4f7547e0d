import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeString } from "../lib/json_string.ts";

function decode(text: string | number[]): string {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : Uint8Array.from(text);
  return decodeString(bytes, (rule, got, offset) => {
    throw new SyntaxError(`${rule}: got ${got} at ${offset}`);
  });
}

test("decodeString() resolves the eight short escapes", () => {
  assert.equal(decode('\\"\\\\\\/\\b\\f\\n\\r\\t'), '"\\/\b\f\n\r\t');
});

test("decodeString() agrees with JSON.parse on every code unit that stands alone", () => {
  for (let unit = 0; unit < 0x10000; unit++) {
    if (unit >= 0xd800 && unit <= 0xdfff) continue;
    const escape = `\\u${unit.toString(16).padStart(4, "0")}`;
    assert.equal(decode(escape), String.fromCharCode(unit));
  }
});

test("decodeString() joins surrogate pairs into characters of four bytes", () => {
  assert.equal(decode("a\\uD83D\\uDE00b\\udbff\\udfff"), "a\u{1f600}b\u{10ffff}");
});

for (
  const text of [
    "\\ud800",
    "\\udc00",
    "\\ud800x",
    "\\ud800\\u0041",
    "\\udc00\\ud800",
    "\\udc00\\udc00",
  ]
) {
  test(`decodeString() refuses the lone surrogate in ${text}`, () => {
    assert.throws(() => decode(text), /must stand in a pair: got a lone one/);
  });
}

for (const text of ["\\x", "\\u12", "\\u12g4", "\\U0041", "\\'", "\\0", "\\u+123", "\\u 123"]) {
  test(`decodeString() refuses the unknown escape in ${text}`, () => {
    assert.throws(() => decode(text), /must be a known one|must have four hex digits/);
  });
}

const NOT_UTF8: [string, number[]][] = [
  ["a byte that never occurs", [0xff]],
  ["an overlong slash", [0xc0, 0xaf]],
  ["an overlong NUL of three bytes", [0xe0, 0x80, 0x80]],
  ["an encoded surrogate", [0xed, 0xa0, 0x80]],
  ["a character beyond U+10FFFF", [0xf4, 0x90, 0x80, 0x80]],
  ["a tail without a head", [0x80]],
  ["a head without its tail", [0x61, 0xe4, 0xb8]],
  ["a broken character after an escape", [0x5c, 0x6e, 0xe4, 0xb8]],
  ["hex digits that are not ASCII", [0x5c, 0x75, 0x30, 0x30, 0xc3, 0xa9]],
];
for (const [name, bytes] of NOT_UTF8) {
  test(`decodeString() refuses ${name}`, () => {
    assert.throws(() => decode(bytes), /must be UTF-8|must have four hex digits/);
  });
}

test("decodeString() keeps a byte order mark inside a string", () => {
  assert.equal(decode([0xef, 0xbb, 0xbf, 0x61]), "\ufeffa");
});

test("decodeString() decodes a long string in pieces, characters across their borders too", () => {
  const text = "a" + "中😀".repeat(500_000);
  assert.equal(decode(text), text);
  const cut = new TextEncoder().encode(text).subarray(0, -1);
  assert.throws(() => decode([...cut]), /must be UTF-8/);
});
