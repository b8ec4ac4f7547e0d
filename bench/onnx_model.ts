/**
 * Writes the ONNX model of a chain of products, as protobuf: what of it a chain needs, and no more.
 *
 *   field   varint(number << 3 | 0) varint(value)                a whole number
 *           varint(number << 3 | 2) varint(length) bytes         bytes, a text, or a message of fields
 *
 * Numbers of fields are those of onnx.proto3, whose limit of 2 GiB a model is kept. Operators are of
 * opset 21, and of the domain com.microsoft for packed weights.
 *
 * @module
 */

/** What a tensor's elements are, by their numbers in onnx.proto3. */
export const onnxTypes = { float32: 1, uint8: 2, float16: 10 } as const;
export type OnnxType = keyof typeof onnxTypes;

/** A tensor that the model holds. */
export interface OnnxTensor {
  readonly type: OnnxType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** An operator, and what it takes beside activations, in order. */
export interface OnnxStep {
  readonly operator: string;
  /** "" for ONNX's own. */
  readonly domain: string;
  readonly attributes: Readonly<Record<string, number>>;
  readonly weights: readonly OnnxTensor[];
}

/** The chain: X [tokens, cols] goes through all steps to Y of the same shape, both in f32. */
export interface OnnxChain {
  readonly tokens: number;
  readonly cols: number;
  readonly steps: readonly OnnxStep[];
}

const MOST_BYTES = 2 ** 31 - 1;
const IR_VERSION = 10;
const OPSET = 21;
const INT_ATTRIBUTE = 2;

type Bytes = readonly Uint8Array[];

/**
 * The model with an input `x` and an output `y`.
 *
 * @throws {RangeError} if it is more than 2 GiB
 */
export function onnxModel({ tokens, cols, steps }: OnnxChain): Uint8Array<ArrayBuffer> {
  const between = (i: number) => i === 0 ? "x" : i === steps.length ? "y" : `h${i}`;
  const graph = [
    ...steps.flatMap((step, i) => stepFields(step, i, between(i), between(i + 1))),
    ...field(2, "chain"),
    ...field(11, valueInfo("x", [tokens, cols])),
    ...field(12, valueInfo("y", [tokens, cols])),
  ];
  return join([
    ...number(1, IR_VERSION),
    ...field(7, graph),
    ...field(8, [...field(1, ""), ...number(2, OPSET)]),
    ...field(8, [...field(1, "com.microsoft"), ...number(2, 1)]),
  ]);
}

/** A node and the tensors it brings. */
function stepFields(
  { operator, domain, attributes, weights }: OnnxStep,
  i: number,
  from: string,
  to: string,
): Bytes {
  const named = (j: number) => `w${i}.${j}`;
  const node = [
    ...[from, ...weights.map((_, j) => named(j))].flatMap((name) => field(1, name)),
    ...field(2, to),
    ...field(4, operator),
    ...Object.entries(attributes).flatMap(([name, value]) =>
      field(5, [...field(1, name), ...number(3, value), ...number(20, INT_ATTRIBUTE)])
    ),
    ...field(7, domain),
  ];
  const tensors = weights.map(({ type, shape, bytes }, j) => [
    ...shape.flatMap((size) => number(1, size)),
    ...number(2, onnxTypes[type]),
    ...field(8, named(j)),
    ...field(9, [bytes]),
  ]);
  return [...field(1, node), ...tensors.flatMap((tensor) => field(5, tensor))];
}

function valueInfo(name: string, shape: readonly number[]): Bytes {
  const sizes = shape.flatMap((size) => field(1, number(1, size)));
  const tensor = [...number(1, onnxTypes.float32), ...field(2, sizes)];
  return [...field(1, name), ...field(2, field(1, tensor))];
}

function number(at: number, value: number): Bytes {
  return [varint(8 * at), varint(value)];
}

/** A text, or a message. */
function field(at: number, content: string | Bytes): Bytes {
  const bytes = typeof content === "string" ? [new TextEncoder().encode(content)] : content;
  return [varint(8 * at + 2), varint(sizeOf(bytes)), ...bytes];
}

/** Seven bits a byte, lowest first, the eighth on all but the last. */
function varint(value: number): Uint8Array {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push(value % 128 + 128);
  return Uint8Array.from([...bytes, value]);
}

function sizeOf(parts: Bytes): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}

function join(parts: Bytes): Uint8Array<ArrayBuffer> {
  const size = sizeOf(parts);
  if (size > MOST_BYTES) {
    throw new RangeError(
      `Cannot write an ONNX model as it must be at most 2 GiB: got ${size} bytes`,
    );
  }
  const all = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
