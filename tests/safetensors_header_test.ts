import assert from "node:assert/strict";
import { test } from "node:test";
import { DTYPE_BITS, dtypes } from "../lib/dtype.ts";
import {
  formatHeader,
  type Header,
  headerLength,
  parseHeader,
  placeTensors,
  show,
} from "../lib/safetensors_header.ts";

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A whole file: length, header, zeros. */
function fileOf(header: string | Uint8Array, dataBytes = 0, length?: bigint): Uint8Array {
  const text = typeof header === "string" ? encode(header) : header;
  const file = new Uint8Array(8 + text.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

/** Reads a file as `openSafetensors` does. */
function readFile(file: Uint8Array): Header {
  const bytes = headerLength(file.subarray(0, 64), file.length, "f.safetensors");
  return parseHeader(file.subarray(8, 8 + bytes), {
    dataBytes: file.length - 8 - bytes,
    file: "f.safetensors",
  });
}

/** A description of one tensor; `fields` replace or add. */
function entry(dtype: string, shape: string, begin: number | string, end: number | string) {
  return `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${begin},${end}]}`;
}

const U8 = entry("U8", "[4]", 0, 4);
const MAX = "18446744073709551615";

// deno-fmt-ignore
const GOOD: [name: string, file: Uint8Array, tensors: number][] = [
  ["no tensors", fileOf("{}"), 0],
  ["one tensor", fileOf(`{"w":${U8}}`, 4), 1],
  ["spaces after the header", fileOf(`{"w":${U8}}     `, 4), 1],
  ["white space between tokens", fileOf(`{\n\t"w" :\r\n ${U8} }`, 4), 1],
  ["a header length that is no multiple of 8", fileOf(`{"w":${U8}} `, 4), 1],
  ["fields in another order", fileOf(`{"w":{"data_offsets":[0,4],"shape":[4],"dtype":"U8"}}`, 4), 1],
  ["a field that the format does not name", fileOf(`{"w":{"x":[{}],${U8.slice(1)}}`, 4), 1],
  ["tensors listed out of order", fileOf(`{"b":${entry("U8", "[2]", 2, 4)},"a":${entry("U8", "[2]", 0, 2)}}`, 4), 2],
  ["rank 0", fileOf(`{"w":${entry("F32", "[]", 0, 4)}}`, 4), 1],
  ["rank 40", fileOf(`{"w":${entry("U8", `[${Array(40).fill(1)}]`, 0, 1)}}`, 1), 1],
  ["an empty tensor", fileOf(`{"w":${entry("F32", "[0]", 0, 0)}}`), 1],
  ["empty tensors that share an offset", fileOf(`{"w":${U8},"x":${entry("U8", "[0]", 4, 4)},"y":${entry("I8", "[3,0]", 4, 4)}}`, 4), 3],
  ["an empty tensor at offset 0 listed after a full one", fileOf(`{"w":${U8},"x":${entry("U8", "[0]", 0, 0)}}`, 4), 2],
  ["an empty tensor with an extent of 2^64 - 1", fileOf(`{"w":${entry("U8", `[0,${MAX}]`, 0, 0)}}`), 1],
  ["a name of no characters", fileOf(`{"":${U8}}`, 4), 1],
  ["a name like a method", fileOf(`{"__proto__":${U8}}`, 4), 1],
  ["a name in escapes", fileOf(`{"\\ud83d\\ude00\\n":${U8}}`, 4), 1],
  ["metadata", fileOf(`{"__metadata__":{"a":"b","__proto__":""},"w":${U8}}`, 4), 1],
  ["empty metadata", fileOf(`{"__metadata__":{}}`), 0],
  ["metadata after the tensors", fileOf(`{"w":${U8},"__metadata__":{"a":"b"}}`, 4), 1],
  ["six-bit elements that end on a byte", fileOf(`{"w":${entry("F6_E3M2", "[4]", 0, 3)}}`, 3), 1],
  ["an odd offset for a wide dtype", fileOf(`{"a":${entry("U8", "[1]", 0, 1)},"b":${entry("F64", "[1]", 1, 9)}}`, 9), 2],
];
for (const [name, file, tensors] of GOOD) {
  test(`a header may have ${name}`, () => assert.equal(readFile(file).tensors.length, tensors));
}

// deno-fmt-ignore
const BAD: [name: string, file: Uint8Array, message: RegExp][] = [
  ["a file of no bytes", new Uint8Array(0), /must have at least 8 bytes: got 0$/],
  ["a file of 7 bytes", new Uint8Array(7), /must have at least 8 bytes: got 7$/],
  ["an empty header", fileOf(""), /must begin with "{": got an empty header/],
  ["a header of 100,000,001 bytes", fileOf("{}", 0, 100_000_001n), /at most 100000000 bytes: got 100000001/],
  ["a length of 2^64 - 1", fileOf("{}", 0, 2n ** 64n - 1n), /at most 100000000 bytes: got 18446744073709551615/],
  ["a length of 2^63 + 2", fileOf("{}", 0, 2n ** 63n + 2n), /at most 100000000 bytes/],
  ["a header one byte longer than the file", fileOf("{}", 0, 3n), /of 3 bytes must end inside the file: got a file of 10/],
  ["a header of 100,000,000 bytes in a short file", fileOf("{}", 0, 100_000_000n), /must end inside the file/],
  ["white space before the header", fileOf(" {}"), /must begin with "{": got byte 0x20/],
  ["a byte order mark", fileOf("\ufeff{}"), /must begin with "{": got byte 0xef/],
  ["an array as header", fileOf("[]"), /must begin with "{"/],
  ["a NUL after the header", fileOf("{}\0"), /padded at its end with spaces only: got byte 0x00 at byte 2/],
  ["a tab after the header", fileOf("{}\t"), /spaces only: got byte 0x09/],
  ["a line feed after the header", fileOf("{} \n"), /spaces only: got byte 0x0a at byte 3/],
  ["a second object", fileOf("{}{}"), /spaces only: got byte 0x7b/],
  ["a header that is cut off", fileOf(`{"w":${U8}`, 4), /must have "," or "}" here: got the end/],
  ["a trailing comma", fileOf(`{"w":${U8},}`, 4), /no trailing comma/],
  ["a name that comes twice", fileOf(`{"w":${U8},"w":${U8}}`, 4), /keys of an object must differ: got "w" twice/],
  ["a name that comes twice in an escape", fileOf(`{"w":${U8},"\\u0077":${U8}}`, 4), /got "w" twice/],
  ["metadata that comes twice", fileOf(`{"__metadata__":{},"__metadata__":{}}`), /got "__metadata__" twice/],
  ["a key that comes twice in the metadata", fileOf(`{"__metadata__":{"a":"1","a":"1"}}`), /got "a" twice .* in "__metadata__"/],
  ["a dtype that comes twice", fileOf(`{"w":{"dtype":"U8",${U8.slice(1)}}`, 4), /got "dtype" twice .* in "w"/],
  ["a shape that comes twice", fileOf(`{"w":{"shape":[4],${U8.slice(1)}}`, 4), /got "shape" twice/],
  ["data_offsets that come twice", fileOf(`{"w":{"data_offsets":[0,4],${U8.slice(1)}}`, 4), /got "data_offsets" twice/],
  ["a duplicate in a field it ignores", fileOf(`{"w":{"x":{"a":1,"a":1},${U8.slice(1)}}`, 4), /got "a" twice/],
  ["metadata null", fileOf(`{"__metadata__":null}`), /metadata must be an object of text: got "n"/],
  ["metadata that is an array", fileOf(`{"__metadata__":[]}`), /metadata must be an object of text: got "\["/],
  ["a number in the metadata", fileOf(`{"__metadata__":{"a":1}}`), /must map text to text: got "1"/],
  ["null in the metadata", fileOf(`{"__metadata__":{"a":null}}`), /must map text to text: got "n"/],
  ["an object in the metadata", fileOf(`{"__metadata__":{"a":{}}}`), /must map text to text: got "{"/],
  ["a lone surrogate in the metadata", fileOf(`{"__metadata__":{"a":"\\ud800"}}`), /must stand in a pair/],
  ["a description that is an array", fileOf(`{"w":["U8",[4],[0,4]]}`, 4), /must be described by an object: got "\["/],
  ["a description that is null", fileOf(`{"w":null}`), /must be described by an object: got "n"/],
  ["no dtype", fileOf(`{"w":{"shape":[4],"data_offsets":[0,4]}}`, 4), /must have a dtype: got none/],
  ["no shape", fileOf(`{"w":{"dtype":"U8","data_offsets":[0,4]}}`, 4), /must have a shape: got none/],
  ["no data_offsets", fileOf(`{"w":{"dtype":"U8","shape":[4]}}`, 4), /must have data_offsets: got none/],
  ["fields in another case", fileOf(`{"w":{"Dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 4), /must have a dtype/],
  ["a dtype that does not exist", fileOf(`{"w":${entry("F128", "[4]", 0, 4)}}`, 4), /one of the format: got "F128"/],
  ["a dtype in lower case", fileOf(`{"w":${entry("u8", "[4]", 0, 4)}}`, 4), /one of the format: got "u8"/],
  ["a dtype like a method", fileOf(`{"w":${entry("toString", "[4]", 0, 4)}}`, 4), /one of the format/],
  ["a dtype that is an object", fileOf(`{"w":{"dtype":{"U8":null},"shape":[4],"data_offsets":[0,4]}}`, 4), /dtype must be a string: got "{"/],
  ["a shape that is a number", fileOf(`{"w":${entry("U8", "4", 0, 4)}}`, 4), /shape must be an array: got "4"/],
  ["a shape that is null", fileOf(`{"w":${entry("U8", "null", 0, 1)}}`, 1), /shape must be an array/],
  ...["4.0", "4e0", "-0", "-4", '"4"', "null", "true", "[4]", "18446744073709551616", "04", "0x4", "NaN"]
    .map((extent): [string, Uint8Array, RegExp] => [
      `the extent ${extent}`,
      fileOf(`{"w":${entry("U8", `[${extent}]`, 0, 4)}}`, 4),
      /unsigned 64-bit integers in digits: got|well formed: got|must have "," or "]" here/,
    ]),
  ...["4.0", "4e0", '"4"', "null", "18446744073709551616", "-4"]
    .map((end): [string, Uint8Array, RegExp] => [
      `the offset ${end}`,
      fileOf(`{"w":${entry("U8", "[4]", 0, end)}}`, 4),
      /data_offsets must be unsigned 64-bit integers in digits: got/,
    ]),
  ["the offset -0", fileOf(`{"w":${entry("U8", "[4]", "-0", 4)}}`, 4), /integers in digits: got "-0"/],
  ["one offset", fileOf(`{"w":{"dtype":"U8","shape":[4],"data_offsets":[4]}}`, 4), /must be two integers: got 1/],
  ["three offsets", fileOf(`{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4,4]}}`, 4), /must be two integers: got more/],
  ["no offsets", fileOf(`{"w":{"dtype":"U8","shape":[4],"data_offsets":[]}}`, 4), /must be two integers: got 0/],
  ["a reversed range", fileOf(`{"w":${entry("U8", "[4]", 4, 0)}}`, 4), /must have 4 bytes: got data_offsets \[4, 0\] in "w"/],
  ["too few bytes for the shape", fileOf(`{"w":${entry("F32", "[2]", 0, 4)}}`, 4), /F32 \[2\] must have 8 bytes: got data_offsets \[0, 4\]/],
  ["too many bytes for the shape", fileOf(`{"w":${entry("U8", "[3]", 0, 4)}}`, 4), /must have 3 bytes/],
  ["a shape that overflows 2^64", fileOf(`{"w":${entry("U8", `[${MAX},2,0]`, 0, 0)}}`), /below 2\^64 at every step/],
  ["a shape that wraps to its bytes", fileOf(`{"w":${entry("U8", "[4294967296,4294967296]", 0, 0)}}`), /below 2\^64/],
  ["bits that overflow 2^64", fileOf(`{"w":${entry("F64", "[2305843009213693952]", 0, 0)}}`), /below 2\^64/],
  ["half a byte", fileOf(`{"w":${entry("F4", "[3]", 0, 1)}}`, 1), /end on a whole byte: got 12 bits/],
  ["a hole at the beginning", fileOf(`{"w":${entry("U8", "[3]", 1, 4)}}`, 4), /"w" must begin at byte 0 of the data/],
  ["a hole in the middle", fileOf(`{"a":${entry("U8", "[1]", 0, 1)},"b":${entry("U8", "[2]", 2, 4)}}`, 4), /"b" must begin at byte 1/],
  ["an overlap", fileOf(`{"a":${entry("U8", "[3]", 0, 3)},"b":${entry("U8", "[2]", 2, 4)}}`, 4), /"b" must begin at byte 3/],
  ["two tensors in one place", fileOf(`{"a":${U8},"b":${U8}}`, 4), /"b" must begin at byte 4 of the data and end by 4: got data_offsets \[0, 4\]/],
  ["an empty tensor inside another", fileOf(`{"a":${U8},"b":${entry("U8", "[0]", 2, 2)}}`, 4), /must begin at byte 4/],
  ["an empty tensor beyond the data", fileOf(`{"w":${entry("U8", "[0]", 9, 9)}}`), /must begin at byte 0/],
  ["data missing at the end", fileOf(`{"w":${U8}}`, 3), /"w" must begin at byte 0 of the data and end by 3/],
  ["data left at the end", fileOf(`{"w":${U8}}`, 5), /fill the data of 5 bytes: got 4 bytes/],
  ["data and no tensors", fileOf("{}", 1), /fill the data of 1 bytes: got 0 bytes/],
  ["offsets near 2^64", fileOf(`{"w":${entry("U8", "[1]", "18446744073709551614", MAX)}}`, 1), /must (have 1 bytes|begin at byte 0)/],
  ["offsets that round to the right difference", fileOf(`{"w":${entry("U8", "[0]", "9007199254740993", "9007199254740992")}}`), /must (have 0 bytes|begin at byte 0)/],
  ["offsets under another name", fileOf(`{"w":{"dtype":"U8","shape":[4],"offsets":[0,4]}}`, 4), /must have data_offsets/],
  ["a tensor name that is not UTF-8", fileOf(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a)), /must be UTF-8/],
  ["a lone surrogate in a name", fileOf(`{"\\udc00":${U8}}`, 4), /must stand in a pair/],
  ["a raw control character in a name", fileOf(`{"a\tb":${U8}}`, 4), /must escape control characters/],
  ["a field nested 128 deep", fileOf(`{"w":{"x":${"[".repeat(126)}${"]".repeat(126)},${U8.slice(1)}}`, 4), /nest at most 127 deep/],
  ["five million extents", fileOf(`{"w":${entry("U8", `[${"1,".repeat(5e6)}1]`, 0, 1)}}`, 1), /at most 4194304 extents/],
];
for (const [name, file, message] of BAD) {
  test(`a header may not have ${name}`, () => {
    assert.throws(
      () => readFile(file),
      (error: Error) => isOneLine(error) && message.test(error.message),
    );
  });
}

function isOneLine(error: unknown): boolean {
  return error instanceof Error &&
    /^Cannot read "f\.safetensors" as .+: got .+$/.test(error.message) &&
    !/[\p{C}]/u.test(error.message) && error.message.length < 400;
}

test("a refusal shows no control characters and not much of a hostile name", () => {
  const name = "\\u001b[31m\\n" + "x".repeat(1e5) + "\\u202e";
  assert.throws(() => readFile(fileOf(`{"${name}":${entry("U8", "[4]", 0, 3)}}`, 3)), isOneLine);
  assert.throws(() => readFile(fileOf(`{"${name}":${entry("U8", "[4]", 1, 5)}}`, 5)), isOneLine);
  assert.throws(() => readFile(fileOf(`{"${name}":${U8},"${name}":${U8}}`, 4)), isOneLine);
});

test("parseHeader() gives exact values above 2^53", () => {
  const { tensors } = readFile(fileOf(`{"w":${entry("U8", `[0,9007199254740993,${MAX}]`, 0, 0)}}`));
  assert.deepEqual(tensors[0].shape, [0, 9007199254740993n, 2n ** 64n - 1n]);
});

test("parseHeader() gives the tensors in the order of their data", () => {
  const header = `{"b":${entry("U8", "[2]", 2, 4)},"a":${entry("U8", "[2]", 0, 2)}}`;
  assert.deepEqual(readFile(fileOf(header, 4)).tensors.map(({ name }) => name), ["a", "b"]);
});

/** Every bit flipped, every byte replaced by the ones that mean something, dropped and doubled. */
function* mutations(file: Uint8Array): Iterable<Uint8Array> {
  for (let at = 0; at < file.length; at++) {
    const values = [...' {}[]",:0129-.eE\\nu\t\n\0\x7f'].map((c) => c.charCodeAt(0));
    for (let bit = 0; bit < 8; bit++) values.push(file[at] ^ (1 << bit));
    for (const value of values) {
      const copy = file.slice();
      copy[at] = value;
      yield copy;
    }
    yield Uint8Array.from([...file.subarray(0, at), ...file.subarray(at + 1)]);
    yield Uint8Array.from([...file.subarray(0, at), file[at], ...file.subarray(at)]);
  }
}

test("each mutation of a good file is refused in one line or tiles its data exactly", () => {
  const header = `{"__metadata__":{"k":"\\u00e9"},"a":${entry("F16", "[2,3]", 0, 12)},` +
    `"b":${entry("I8", "[0]", 12, 12)},"c":${entry("U8", "[4]", 12, 16)}} `;
  let accepted = 0;
  for (const file of mutations(fileOf(header, 16))) {
    let read: Header;
    try {
      read = readFile(file);
    } catch (error) {
      assert.ok(isOneLine(error), String(error));
      continue;
    }
    accepted++;
    let reached = 0;
    for (const { dtype, shape, begin, end } of read.tensors) {
      assert.equal(begin, reached);
      const elements = shape.reduce<number>((product, extent) => product * Number(extent), 1);
      assert.equal(end - begin, elements * DTYPE_BITS[dtype] / 8);
      reached = end;
    }
    const bytes = Number(new DataView(file.buffer).getBigUint64(0, true));
    assert.equal(8 + bytes + reached, file.length);
    // What we take, a lenient parser must understand in the same way.
    const lenient = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + bytes)));
    delete lenient.__metadata__;
    assert.deepEqual(read.tensors.map(({ name }) => name).sort(), Object.keys(lenient).sort());
  }
  assert.ok(accepted > 100, `${accepted}`);
});

test("placeTensors() puts wide dtypes first, then sorts by name, without holes", () => {
  const tensors = dtypes.flatMap((dtype) =>
    [2, 1].map((i) => ({ name: `${dtype}${i}`, dtype, shape: [8] }))
  );
  const places = placeTensors(tensors);
  assert.deepEqual(
    places.map(({ name }) => name),
    [...dtypes].reverse().flatMap((d) => [`${d}1`, `${d}2`]),
  );
  let reached = 0;
  for (const { dtype, begin, end } of places) {
    assert.equal(begin, reached);
    assert.equal(begin % Math.max(1, DTYPE_BITS[dtype] >> 3), 0);
    reached = end;
  }
});

for (const name of ["__metadata__", "\ud800", "twice"]) {
  test(`placeTensors() refuses the name ${JSON.stringify(name)}`, () => {
    const tensor = { name, dtype: "U8", shape: [1] } as const;
    const second = { ...tensor, name: name === "twice" ? name : "other" };
    assert.throws(() => placeTensors([tensor, second]), TypeError);
  });
}

test("parseHeader() reads back what formatHeader() wrote, its data aligned to 8 bytes", () => {
  const metadata = { format: "pt", "": "é\n\u0000", constructor: "\u2028" };
  const tensors = [["a b", "BF16", [2, 3]], ["", "F32", []], ['\u0001"\\😀', "U8", [
    0,
    2n ** 60n,
  ]]] as const;
  const places = placeTensors(tensors.map(([name, dtype, shape]) => ({ name, dtype, shape })));
  const header = formatHeader(places, metadata);
  assert.equal(header.length % 8, 0);
  const read = parseHeader(header, { dataBytes: 16 });
  assert.deepEqual(
    read.tensors.map((t) => JSON.stringify(t, bigints)).sort(),
    places.map((t) => JSON.stringify(t, bigints)).sort(),
  );
  assert.deepEqual({ ...read.metadata }, metadata);
});

function bigints(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

test("formatHeader() keeps room for metadata of the reserved bytes", () => {
  const places = placeTensors([{ name: "w", dtype: "U8", shape: [4] }]);
  for (let letters = 0; letters < 40; letters++) {
    const metadata = { k: "x".repeat(letters) };
    const reserve = JSON.stringify(metadata).length;
    const room = formatHeader(places, null, reserve).length;
    assert.ok(formatHeader(places, metadata).length <= room);
  }
});

test("formatHeader() refuses metadata that is not text", () => {
  const hostile = { a: 1 } as unknown as Record<string, string>;
  assert.throws(
    () => formatHeader([], hostile),
    /metadata "a" as it must be well-formed text: got number/,
  );
  assert.throws(() => formatHeader([], { "\udc00": "" }), /must be well-formed text/);
});

test("show() cuts long shapes", () => {
  assert.equal(show([2, 3]), "[2, 3]");
  assert.equal(show(Array(1000).fill(1)), "[1, 1, 1, 1, 1, 1, 1, 1, .. 1000 extents]");
});

test("a header of 2 MB with 20,000 tensors is read in under a second", () => {
  const entries = Array.from(
    { length: 20_000 },
    (_, i) =>
      `"model.layers.${i}.mlp.up_proj.weight":${entry("BF16", "[2,3]", 12 * i, 12 * i + 12)}`,
  );
  const header = encode(`{${entries}}`);
  const start = performance.now();
  assert.equal(parseHeader(header, { dataBytes: 240_000 }).tensors.length, 20_000);
  assert.ok(performance.now() - start < 1000);
});
