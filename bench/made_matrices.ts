/**
 * Matrices of random bits: every pattern of codes is a matrix, so nothing need be quantised to time
 * a product, and what is made of them is still held against the reference. Scales and dense weights are
 * numbers of about 0.01, of both signs where they may be.
 *
 * `natural()` is the same packed matrix for kernels that want codes in the order of their columns.
 *
 * @module
 */
import { narrow } from "../lib/float16.ts";
import type { DenseMatrix, Matrix } from "../lib/linear_reference.ts";
import { codesShape, type PackedShape, type QuantizedMatrix } from "../lib/pack.ts";
import { scalesShape } from "../lib/pack_scales.ts";
import { rowCodes } from "../lib/quantizer.ts";
import type { Stored } from "./stored.ts";

/** A matrix of random codes. */
export function packedMatrix(
  { rows, cols }: { rows: number; cols: number },
  { format, scaleFormat, group }: Stored,
): QuantizedMatrix {
  const shape = { rows, cols, format, group, scaleFormat };
  const codes = randomWords(product(codesShape(shape)), 11);
  const facts = { ...shape, name: format.name, scaleExponent: 0, underflows: 0, codes };
  if (scaleFormat.bits < 16) return { ...facts, scales: codedScales(shape) };
  const scales = Uint16Array.from(randomWords(product(scalesShape(shape)), 7), smallF16);
  if (format.scaling === "zero-point") {
    const most = 2 ** format.bits;
    const zeros = narrow(Float32Array.from({ length: most }, (_, i) => i), "F16");
    const bits = new Uint16Array(zeros.buffer);
    for (let i = 1; i < scales.length; i += 2) scales[i] = bits[most / 4 + scales[i] % (most / 2)];
  }
  return { ...facts, scales };
}

/** Random codes of scales, those of e8m0 near 1; a row's factor is a number of about 0.01. */
function codedScales(shape: PackedShape & Stored): Uint8Array<ArrayBuffer> {
  const [rows, width] = scalesShape(shape);
  const { bits, mantissa, factor } = shape.scaleFormat;
  const words = randomWords(rows * width, 7);
  const scales = Uint8Array.from(words, (word) => bits - mantissa === 8 ? 120 + word % 8 : word);
  for (let row = 0; factor === "row" && row < rows; row++) {
    const half = smallF16(words[row * width]);
    scales.set([half & 255, half >> 8], row * width);
  }
  return scales;
}

/** A matrix of random floats. */
export function denseMatrix(
  { rows, cols }: { rows: number; cols: number },
  dtype: "F16" | "F32",
): DenseMatrix {
  const words = randomWords(rows * cols / (dtype === "F16" ? 2 : 1), 13);
  const [keep, set] = dtype === "F16" ? [0x83ff83ff, 0x20002000] : [0x807fffff, 0x3c000000];
  for (let i = 0; i < words.length; i++) words[i] = (words[i] & keep) | set;
  return { name: dtype, rows, cols, dtype, bytes: new Uint8Array(words.buffer) };
}

/** Activations from -1 to 1. */
export function activations(length: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(randomWords(length, 17), (word) => word / 2 ** 31 - 1);
}

/** Rows of a matrix as a matrix of their own. */
export function someRows(matrix: Matrix, rows: readonly number[]): Matrix {
  const pick = (all: Uint32Array | Uint16Array | Uint8Array) => {
    const width = all.length / matrix.rows;
    const part = all.slice(0, rows.length * width);
    rows.forEach((row, i) => part.set(all.subarray(row * width, (row + 1) * width), i * width));
    return part;
  };
  if (!("codes" in matrix)) {
    return { ...matrix, rows: rows.length, bytes: pick(matrix.bytes) as Uint8Array<ArrayBuffer> };
  }
  return {
    ...matrix,
    rows: rows.length,
    codes: pick(matrix.codes) as Uint32Array<ArrayBuffer>,
    scales: pick(matrix.scales) as Uint16Array<ArrayBuffer>,
  };
}

/** Codes of a 4-bit matrix in the order of columns, eight a word: [rows, cols / 8]. */
export function natural(q: QuantizedMatrix): Uint32Array<ArrayBuffer> {
  if (q.format.decode === "table") return q.codes; // so they lie already
  const words = new Uint32Array(q.rows * q.cols / 8);
  for (let row = 0; row < q.rows; row++) {
    const codes = rowCodes(q, row);
    for (let column = 0; column < q.cols; column++) {
      words[(row * q.cols + column) >> 3] |= codes[column] << (4 * (column % 8));
    }
  }
  return words;
}

function randomWords(length: number, seed: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length));
  let state = seed;
  for (let i = 0; i < words.length; i++) { // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return words;
}

/** The f16 bits of a number from 2^-7 to 2^-6. */
function smallF16(word: number): number {
  return 0x2000 | (word >>> 8 & 0x3ff);
}

function product(sizes: readonly number[]): number {
  return sizes.reduce((a, b) => a * b, 1);
}
