import assert from "node:assert/strict";
import { test } from "node:test";
import { JsonReader, parseStrictJson, quote } from "../lib/strict_json.ts";

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Without the null prototypes, for comparison with JSON.parse. */
function plain(text: string): unknown {
  return JSON.parse(JSON.stringify(parseStrictJson(encode(text))));
}

const GOOD = [
  "null",
  "true",
  "false",
  "0",
  "-0.5e-3",
  "12345678901234567890",
  "123456789012345",
  "1234567890123456",
  '""',
  '"é中😀"',
  "[]",
  "{}",
  " [ 1 , [ 2 ] , { } ] ",
  '\t\r\n{"a" : {"b": [null, true, -1, "x"]}, "c": 1E5}\n',
  '{"": "", "constructor": 1, "toString": {"length": 2}}',
  `[${"[".repeat(126)}${"]".repeat(126)}]`,
  `{${Array.from({ length: 40 }, (_, i) => `"k${i}": ${i}`)}}`,
];
for (const text of GOOD) {
  test(`parseStrictJson() agrees with JSON.parse on ${JSON.stringify(text.slice(0, 40))}`, () => {
    assert.deepEqual(plain(text), JSON.parse(text));
  });
}

const BAD: [name: string, text: string, message: RegExp][] = [
  ["an empty text", "", /must have a value here: got the end of the text at byte 0/],
  ["a byte order mark", "\ufeff{}", /must have a value here: got byte 0xef/],
  ["a second value", "{} {}", /must end after its value: got "{" at byte 3/],
  ["a NUL after the value", "1\0", /must end after its value: got byte 0x00/],
  ["a no-break space", "1\u00a0", /must end after its value: got byte 0xc2/],
  ["a form feed as white space", "\f1", /must have a value here: got byte 0x0c/],
  ["a comment", "/* */ 1", /must have a value here: got "\/"/],
  ["single quotes", "'a'", /must have a value here/],
  ["a bare key", "{a: 1}", /must have a key here: got "a"/],
  ["a key without colon", '{"a" 1}', /must be followed by ":"/],
  ["a trailing comma in an object", '{"a": 1,}', /no trailing comma: got "}"/],
  ["a trailing comma in an array", "[1,]", /no trailing comma: got "]"/],
  ["a leading comma", "[,1]", /must have a value here: got ","/],
  ["a missing comma", "[1 2]", /must have "," or "]" here: got "2"/],
  ["the wrong bracket", '{"a": 1]', /must have "," or "}" here: got "]"/],
  ["an open object", '{"a": 1', /got the end of the text/],
  ["an open string", '"abc', /a string in JSON must end/],
  ["a string that ends in a backslash", '"abc\\', /a string in JSON must end/],
  ["a raw line feed in a string", '"a\nb"', /must escape control characters: got byte 0x0a/],
  ["a raw NUL in a string", '"\0"', /must escape control characters: got byte 0x00/],
  ["NaN", "NaN", /must have a value here: got "N"/],
  ["Infinity", "-Infinity", /must be well formed: got "-"/],
  ["a misspelt literal", "[nul]", /must have a value here: got "nul"/],
  ["a longer literal", "trues", /must have a value here: got "trues"/],
  ["a plus sign", "+1", /must be well formed: got "\+1"/],
  ["a leading zero", "012", /must be well formed: got "012"/],
  ["two zeros", "00", /must be well formed: got "00"/],
  ["a bare point", "1.", /must be well formed: got "1."/],
  ["a bare exponent", "1e", /must be well formed: got "1e"/],
  ["hexadecimal", "0x10", /must end after its value: got "x"/],
  ["a number beyond f64", "1e400", /must fit in f64: got Infinity/],
  ["a number of 2000 digits", "1".repeat(2000), /must be well formed/],
  ["a duplicate key", '{"a": 1, "b": 2, "a": 3}', /must differ: got "a" twice at byte 17/],
  ["a duplicate key in an escape", '{"a": 1, "\\u0061": 3}', /must differ: got "a" twice/],
  ["a duplicate key deep down", '[[{"x": {"a": 1, "a": 1}}]]', /must differ: got "a" twice/],
  ["a duplicate __proto__", '{"__proto__": 1, "__proto__": 2}', /must differ: got "__proto__"/],
  ["a lone surrogate escape", '"\\ud800"', /must stand in a pair/],
  ["128 nested arrays", "[".repeat(128) + "]".repeat(128), /must nest at most 127 deep/],
  ["a million open brackets", "[".repeat(1e6), /must nest at most 127 deep/],
];
for (const [name, text, message] of BAD) {
  test(`parseStrictJson() refuses ${name}`, () => {
    assert.throws(
      () => parseStrictJson(encode(text), '"x.json"'),
      (error: Error) =>
        error instanceof SyntaxError && message.test(error.message) &&
        error.message.startsWith('Cannot read "x.json" as '),
    );
  });
  test(`JsonReader.skip() refuses ${name}`, () => {
    assert.throws(() => {
      const reader = new JsonReader(encode(text), '"x.json"');
      reader.skip();
      reader.end();
    }, message);
  });
}

test("parseStrictJson() refuses a key that comes again after many others", () => {
  const keys = Array.from({ length: 3000 }, (_, i) => `"k${i}": 0`);
  assert.throws(() => parseStrictJson(encode(`{${keys}, "k1234": 0}`)), /"k1234" twice/);
});

test("parseStrictJson() refuses half a million open keys and more", () => {
  const keys = Array.from({ length: 2 ** 19 + 1 }, (_, i) => `"${i}":0`);
  assert.throws(() => parseStrictJson(encode(`{${keys}}`)), /at most 524288 keys/);
});

test("parseStrictJson() counts only the keys of objects that are still open", () => {
  const text = `[${"{},".repeat(10)}${'{"a":0,"b":1},'.repeat(2 ** 18 + 1)}0]`;
  assert.equal((parseStrictJson(encode(text)) as unknown[]).length, 2 ** 18 + 12);
});

test("parseStrictJson() keeps __proto__ as a mere name", () => {
  const value = parseStrictJson(encode('{"__proto__": {"polluted": 1}}')) as { polluted?: number };
  assert.equal(value.polluted, undefined);
  assert.equal(({} as { polluted?: number }).polluted, undefined);
  assert.deepEqual(Object.keys(value), ["__proto__"]);
});

test("parseStrictJson() refuses bytes outside strings that are not ASCII", () => {
  assert.throws(() => parseStrictJson(Uint8Array.of(0x5b, 0xff, 0x5d)), /got byte 0xff at byte 1/);
});

test("JsonReader.integer() takes digits up to 2^64 - 1, exactly", () => {
  const read = (text: string) => new JsonReader(encode(text), "JSON").integer();
  assert.equal(read("0"), 0);
  assert.equal(read("9007199254740991"), 9007199254740991);
  assert.equal(read("9007199254740993"), 9007199254740993n);
  assert.equal(read("18446744073709551615"), 18446744073709551615n);
});

for (
  const text of ["-0", "-4", "4.0", "4e0", "18446744073709551616", "1".repeat(500), '"4"', "null"]
) {
  test(`JsonReader.integer() refuses ${text.slice(0, 24)}`, () => {
    const reader = new JsonReader(encode(text), "JSON");
    assert.throws(() => reader.integer("it must be an integer"), /as it must be an integer: got /);
  });
}

test("JsonReader reads equal short texts alike, and different ones apart", () => {
  const words = Array.from({ length: 5000 }, (_, i) => `w${i % 700}`);
  assert.deepEqual(parseStrictJson(encode(JSON.stringify(words))), words);
});

test("parseStrictJson() or JSON.parse refuses each broken copy of a text, and they agree if not", () => {
  const bytes = encode('{"a": [1, -2.5e3, "x\\u00e9"], "b": {"c": null}}');
  for (let at = 0; at < bytes.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const copy = bytes.slice();
      copy[at] ^= 1 << bit;
      let value;
      try {
        value = parseStrictJson(copy);
      } catch (error) {
        assert.match((error as Error).message, /^Cannot read JSON as .*: got .* at byte \d+$/);
        continue;
      }
      const expected = JSON.parse(new TextDecoder().decode(copy));
      assert.deepEqual(JSON.parse(JSON.stringify(value)), expected);
    }
  }
});

test("quote() shows nothing invisible and never much", () => {
  assert.equal(quote("a b.é中"), '"a b.é中"');
  assert.equal(quote('a"b\\'), '"a\\"b\\\\"');
  assert.equal(quote("\n\x1b[2J\u202e\ud800"), '"\\u{a}\\u{1b}[2J\\u{202e}\\u{d800}"');
  assert.equal(quote("x".repeat(1000) + "end", 8), '"..xxxxxend"');
  assert.ok(quote("\u0007".repeat(1e6)).length < 110);
});
