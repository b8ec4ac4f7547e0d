/**
 * The header of a safetensors file, bytes to entries and back. Pure: no file is touched here.
 *
 * File: u64 little-endian n | n bytes of header | data. Header, by the format's README:
 * `{"__metadata__": {"key": "text"}, "NAME": {"dtype": "F16", "shape": [2, 3], "data_offsets":
 * [0, 12]}, ..}`, strict JSON that begins with `{` and may be padded at its end with spaces.
 *
 * Rules beyond JSON: n at most 100,000,000; all three fields once; integers in plain digits; the
 * offsets, sorted, tile the data with no hole and no overlap, and end where the file ends;
 * end - begin = shape product x bits / 8. Empty tensors and rank 0 are fine. Alignment is not asked.
 *
 * Where the README and its reference reader differ, the README wins: names and keys must differ at
 * every level, white space before `{` is refused, and the padding is 0x20 alone (the reference
 * takes tab, CR and LF as well). `__metadata__` is a map of text, so null is refused. The README
 * says nothing of further fields in a description, so they are read strictly and ignored, as the
 * reference does. All shapes together may have 2^22 extents, so that memory stays bounded.
 *
 * Writing: widest dtype first, then by name, as the reference; the header is padded with spaces so
 * that the data begins at a multiple of 8.
 *
 * @module
 */

import { type Dtype, dtypes, isDtype, type Shape, tensorBytes } from "./dtype.ts";
import { JsonReader, quote } from "./strict_json.ts";

/** One tensor as the header describes it; begin and end are byte offsets in the data. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: Shape;
  readonly begin: number;
  readonly end: number;
}

/** What a header says, the tensors in the order of their data. */
export interface Header {
  readonly metadata: Record<string, string> | null;
  readonly tensors: TensorEntry[];
}

/** The longest header the format allows, in bytes. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Bytes of the length that stands before the header. */
export const LENGTH_BYTES = 8;

const METADATA = "__metadata__";
const MAX_EXTENTS = 2 ** 22;
const [SPACE, OPEN_OBJECT] = [0x20, 0x7b];

/**
 * Bytes of the header, out of a file's first bytes.
 *
 * @param head the file's first 9 bytes or more (fewer where the file is shorter)
 * @throws {RangeError} when the length cannot be right for a file of `fileBytes`
 * @throws {SyntaxError} when the header does not begin with `{`
 */
export function headerLength(head: Uint8Array, fileBytes: number, file = ""): number {
  const subject = quote(file);
  if (fileBytes < LENGTH_BYTES || head.length < LENGTH_BYTES) {
    throw new RangeError(
      `Cannot read ${subject} as a safetensors file must have at least 8 bytes: got ${fileBytes}`,
    );
  }
  const length = new DataView(head.buffer, head.byteOffset).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    throw new RangeError(
      `Cannot read ${subject} as a header must have at most ${MAX_HEADER_BYTES} bytes: got ${length}`,
    );
  }
  if (LENGTH_BYTES + Number(length) > fileBytes) {
    throw new RangeError(
      `Cannot read ${subject} as its header of ${length} bytes must end inside the file: got a file of ${fileBytes} bytes`,
    );
  }
  if (length === 0n || head[LENGTH_BYTES] !== OPEN_OBJECT) {
    const got = length === 0n ? "an empty header" : `byte 0x${head[LENGTH_BYTES].toString(16)}`;
    throw new SyntaxError(`Cannot read ${subject} as its header must begin with "{": got ${got}`);
  }
  return Number(length);
}

/**
 * Reads and checks a whole header.
 *
 * @param bytes the header, without the length before it
 * @param options dataBytes: bytes of the file after the header; file: how errors call it
 * @throws {SyntaxError} when the bytes are not strict JSON of the right form
 * @throws {RangeError} when the tensors do not tile the data
 *
 * @example Usage
 * ```ts
 * import { parseHeader } from "./safetensors_header.ts";
 * import assert from "node:assert/strict";
 *
 * const text = '{"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}  ';
 * const { tensors } = parseHeader(new TextEncoder().encode(text), { dataBytes: 12 });
 * assert.deepEqual(tensors, [{ name: "w", dtype: "BF16", shape: [2, 3], begin: 0, end: 12 }]);
 * ```
 */
export function parseHeader(
  bytes: Uint8Array,
  { dataBytes, file = "" }: { dataBytes: number; file?: string },
): Header {
  if (bytes[0] !== OPEN_OBJECT) {
    throw new SyntaxError(`Cannot read ${quote(file)} as its header must begin with "{"`);
  }
  const reader = new JsonReader(bytes, quote(file));
  const tensors: TensorEntry[] = [];
  const extents = { left: MAX_EXTENTS };
  let metadata: Record<string, string> | null = null;
  reader.object((name) => {
    reader.within = name;
    if (name === METADATA) metadata = readMetadata(reader);
    else tensors.push(readEntry(reader, name, extents));
    reader.within = null;
  });
  checkPadding(reader, bytes);
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkTiling(tensors, dataBytes, file);
  return { metadata, tensors };
}

function readMetadata(reader: JsonReader): Record<string, string> {
  const metadata: Record<string, string> = Object.create(null);
  reader.object((key) => {
    metadata[key] = reader.string("metadata must map text to text");
  }, "metadata must be an object of text");
  return metadata;
}

/** Reads one description; end - begin is right for its dtype and shape when it returns. */
function readEntry(reader: JsonReader, name: string, extents: { left: number }): TensorEntry {
  let dtype: Dtype | undefined;
  let shape: (number | bigint)[] | undefined;
  let offsets: (number | bigint)[] | undefined;
  reader.object((field) => {
    if (field === "dtype") dtype = readDtype(reader);
    else if (field === "shape") shape = readShape(reader, extents);
    else if (field === "data_offsets") offsets = readOffsets(reader);
    else reader.skip();
  }, "a tensor must be described by an object");
  if (dtype === undefined) return reader.refuse("a tensor must have a dtype", "none");
  if (shape === undefined) return reader.refuse("a tensor must have a shape", "none");
  if (offsets === undefined) return reader.refuse("a tensor must have data_offsets", "none");
  const [begin, end] = offsets;
  const bytes = tensorBytes(dtype, shape, (rule, got) => {
    throw new RangeError(reader.message(`a tensor of this dtype and shape must fit: ${rule}`, got));
  });
  if (Number(end) - Number(begin) !== bytes) {
    const rule = `a tensor of ${dtype} ${show(shape)} must have ${bytes} bytes`;
    throw new RangeError(reader.message(rule, `data_offsets [${begin}, ${end}]`));
  }
  // Offsets above 2^53 are rounded here, but no file reaches there: the tiling refuses them.
  return { name, dtype, shape, begin: Number(begin), end: Number(end) };
}

function readDtype(reader: JsonReader): Dtype {
  const at = reader.at;
  const word = reader.string("a dtype must be a string");
  return isDtype(word)
    ? dtypes[dtypes.indexOf(word)]
    : reader.refuse("a dtype must be one of the format", quote(word, 24), at);
}

function readShape(reader: JsonReader, extents: { left: number }): (number | bigint)[] {
  const shape: (number | bigint)[] = [];
  reader.array(() => {
    if (extents.left-- <= 0) {
      reader.refuse(`all shapes must have at most ${MAX_EXTENTS} extents`, "more");
    }
    shape.push(reader.integer("a shape must hold unsigned 64-bit integers in digits"));
  }, "a shape must be an array");
  return shape.slice(); // no spare room: a push leaves place for 16 more
}

function readOffsets(reader: JsonReader): (number | bigint)[] {
  const offsets: (number | bigint)[] = [];
  reader.array(() => {
    if (offsets.length === 2) reader.refuse("data_offsets must be two integers", "more");
    offsets.push(reader.integer("data_offsets must be unsigned 64-bit integers in digits"));
  }, "data_offsets must be an array");
  if (offsets.length !== 2) reader.refuse("data_offsets must be two integers", `${offsets.length}`);
  return offsets;
}

function checkPadding(reader: JsonReader, bytes: Uint8Array): void {
  for (let at = reader.at; at < bytes.length; at++) {
    if (bytes[at] === SPACE) continue;
    const got = `byte 0x${bytes[at].toString(16).padStart(2, "0")}`;
    reader.refuse("a header must be padded at its end with spaces only", got, at);
  }
}

function checkTiling(tensors: TensorEntry[], dataBytes: number, file: string): void {
  let reached = 0;
  for (const { name, begin, end } of tensors) {
    if (begin !== reached || end > dataBytes) {
      throw new RangeError(
        `Cannot read ${quote(file)} as tensor ${
          quote(name)
        } must begin at byte ${reached} of the data and end by ${dataBytes}: got data_offsets [${begin}, ${end}]`,
      );
    }
    reached = end;
  }
  if (reached !== dataBytes) {
    throw new RangeError(
      `Cannot read ${
        quote(file)
      } as its tensors must fill the data of ${dataBytes} bytes: got ${reached} bytes`,
    );
  }
}

/** A shape in brackets, cut where a hostile one would flood an error. */
export function show(shape: Shape): string {
  const shown = shape.slice(0, 8).join(", ");
  return shape.length > 8 ? `[${shown}, .. ${shape.length} extents]` : `[${shown}]`;
}

/**
 * Gives each tensor its place, the widest dtype first and then by name, as the reference does.
 *
 * @throws {TypeError} when a name is twice there, reserved or not well-formed text
 */
export function placeTensors(
  tensors: readonly { name: string; dtype: Dtype; shape: Shape }[],
): TensorEntry[] {
  const names = new Set<string>();
  for (const { name } of tensors) {
    if (names.has(name) || name === METADATA || !name.isWellFormed()) {
      throw new TypeError(
        `Cannot write tensor ${
          quote(name)
        } as names must be well-formed, differ and not be reserved: got it`,
      );
    }
    names.add(name);
  }
  let reached = 0;
  return [...tensors].sort(byWidthThenName).map(({ name, dtype, shape }) => {
    const begin = reached;
    reached += tensorBytes(dtype, shape);
    return { name, dtype, shape, begin, end: reached };
  });
}

function byWidthThenName(a: { name: string; dtype: Dtype }, b: { name: string; dtype: Dtype }) {
  const width = dtypes.indexOf(b.dtype) - dtypes.indexOf(a.dtype);
  return width !== 0 ? width : a.name < b.name ? -1 : 1;
}

/**
 * The bytes of a header, padded with spaces so that 8 + its length is a multiple of 8.
 *
 * @param reserve bytes to leave for the JSON of metadata that is known only later
 * @throws {TypeError} when metadata is not well-formed text
 */
export function formatHeader(
  tensors: readonly TensorEntry[],
  metadata: Readonly<Record<string, string>> | null,
  reserve = 0,
): Uint8Array<ArrayBuffer> {
  const members: string[] = [];
  if (metadata !== null) members.push(`"${METADATA}":${formatMetadata(metadata)}`);
  for (const { name, dtype, shape, begin, end } of tensors) {
    const fields = `"dtype":"${dtype}","shape":[${shape}],"data_offsets":[${begin},${end}]`;
    members.push(`${JSON.stringify(name)}:{${fields}}`);
  }
  const text = new TextEncoder().encode(`{${members.join(",")}}`);
  const later = reserve > 0 ? `"${METADATA}":,`.length + reserve : 0;
  const header = new Uint8Array(Math.ceil((text.length + later) / 8) * 8).fill(SPACE);
  header.set(text);
  return header;
}

function formatMetadata(metadata: Readonly<Record<string, string>>): string {
  for (const [key, text] of Object.entries(metadata)) {
    if (typeof text === "string" && key.isWellFormed() && text.isWellFormed()) continue;
    throw new TypeError(
      `Cannot write metadata ${quote(key)} as it must be well-formed text: got ${typeof text}`,
    );
  }
  return JSON.stringify(metadata);
}
