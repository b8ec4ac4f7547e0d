/**
 * Products with packed and dense weights on a device: each function checks shapes, places buffers and
 * launches one kernel, that of its name. Without a GPU it is the reference that runs.
 *
 * A matrix given as it is goes up, is used once and is freed; `load()` keeps it on the device. A matrix
 * beyond one binding or buffer goes up in runs of rows, a batch too large for one goes in runs of
 * tokens; neither changes a bit of the result.
 *
 * @module
 */

import type { Device } from "./device.ts";
import { powerOfTwo } from "./float16.ts";
import { kernelFor, type KernelName } from "./kernels.ts";
import { download, empty, type Gpu, run, upload } from "./launch.ts";
import * as reference from "./linear_reference.ts";
import type { DenseMatrix, ProductOptions } from "./linear_reference.ts";
import { type QuantizedMatrix, UNIT, unitsPerRow } from "./pack.ts";

export type { DenseMatrix, ProductOptions } from "./linear_reference.ts";

/** A matrix, packed or dense. */
type Matrix = QuantizedMatrix | DenseMatrix;

/** A run of rows of a matrix on the device. */
interface Slice {
  readonly firstRow: number;
  readonly rows: number;
  /** In the order of the kernels' bindings, those of W. */
  readonly buffers: readonly GPUBuffer[];
}

/** A matrix on the device, until `free()`. */
export interface Loaded<M extends Matrix> {
  readonly matrix: M;
  readonly slices: readonly Slice[];
  free(): void;
}

/** Lanes of a workgroup: CPUs want about their vector width, GPUs a wave or two. */
const LANES = { software: 16, hardware: 64 };

/** A number that a group cannot be, which means the whole row: no column reaches it. */
const WHOLE_ROW = 2 ** 31;

/**
 * y = W x + b. W [rows, cols], x [cols] -> y [rows]; or two tokens, x [2, cols] -> y [2, rows].
 *
 * @throws {TypeError} if x or the bias does not fit W
 * @throws {Error} if the device is lost or out of memory
 *
 * @example Usage
 * ```ts
 * import { openDevice } from "./device.ts";
 * import { matvec } from "./linear.ts";
 * import { quantize } from "./quantizer.ts";
 * import assert from "node:assert/strict";
 *
 * const device = await openDevice({ binding: "cpu" });
 * const q = quantize(Float32Array.of(1, -2, 4, 0), { rows: 2, cols: 2, format: "fp4-asym" });
 * assert.deepEqual(await matvec(device, q, Float32Array.of(1, 1)), Float32Array.of(-1, 4));
 * ```
 */
export async function matvec(
  device: Device,
  w: QuantizedMatrix | Loaded<QuantizedMatrix>,
  x: Float32Array,
  options: ProductOptions = {},
): Promise<Float32Array<ArrayBuffer>> {
  const batch = expectTokens(matrixOf(w), x, options);
  if (!device.gpu) return reference.matvec(matrixOf(w), x, options);
  return await product(device, "matvec", w, x, batch, options);
}

/** Y = X W^T + b. W [rows, cols], x [batch, cols] -> y [batch, rows]. */
export async function matmul(
  device: Device,
  w: QuantizedMatrix | Loaded<QuantizedMatrix>,
  x: Float32Array,
  batch: number,
  options: ProductOptions = {},
): Promise<Float32Array<ArrayBuffer>> {
  expectShape(matrixOf(w), x, batch, options);
  if (!device.gpu) return reference.matmul(matrixOf(w), x, batch, options);
  return await product(device, "matmul", w, x, batch, options);
}

/** y = W x + b with dense W [rows, cols], x [cols] or [2, cols] -> y [rows] or [2, rows]. */
export async function denseMatvec(
  device: Device,
  w: DenseMatrix | Loaded<DenseMatrix>,
  x: Float32Array,
  options: ProductOptions = {},
): Promise<Float32Array<ArrayBuffer>> {
  const batch = expectTokens(matrixOf(w), x, options);
  if (!device.gpu) return reference.denseMatvec(matrixOf(w), x, options);
  return await product(device, "dense_matvec", w, x, batch, options);
}

/** Y = X W^T + b with dense W [rows, cols], x [batch, cols] -> y [batch, rows]. */
export async function denseMatmul(
  device: Device,
  w: DenseMatrix | Loaded<DenseMatrix>,
  x: Float32Array,
  batch: number,
  options: ProductOptions = {},
): Promise<Float32Array<ArrayBuffer>> {
  expectShape(matrixOf(w), x, batch, options);
  if (!device.gpu) return reference.denseMatmul(matrixOf(w), x, batch, options);
  return await product(device, "dense_matmul", w, x, batch, options);
}

/** W [rows, cols] as f32, made on the device. */
export async function dequantise(
  device: Device,
  w: QuantizedMatrix | Loaded<QuantizedMatrix>,
): Promise<Float32Array<ArrayBuffer>> {
  const { gpu } = device;
  const q = matrixOf(w);
  if (!gpu) return reference.dequantise(q);
  const most = Math.floor(bindingBytes(gpu) / (4 * q.cols));
  const loaded = "slices" in w ? w : await load(device, w, most);
  const all = new Float32Array(q.rows * q.cols);
  for (const { firstRow, rows, buffers } of loaded.slices) {
    const out = empty(gpu, 4 * rows * q.cols);
    await run(gpu, kernelFor("dequantise", gpu.features), {
      constants: { ...matrixConstants(gpu, q), ROWS: rows, WORKGROUP: lanes(device) },
      buffers: [...buffers, out],
      workgroups: Math.ceil(rows * 2 * unitsPerRow(q.cols) / lanes(device)),
    });
    all.set(await download(gpu, out), firstRow * q.cols);
    out.destroy();
  }
  if (loaded !== w) loaded.free();
  return all;
}

/** Copies a matrix to the device, in slices of at most `mostRows` rows that fit one binding each. */
export async function load<M extends Matrix>(
  { gpu }: Device,
  matrix: M,
  mostRows = Infinity,
): Promise<Loaded<M>> {
  if (!gpu) return { matrix, slices: [], free() {} };
  const slices: Slice[] = [];
  const free = () => slices.forEach(({ buffers }) => buffers.forEach((buffer) => buffer.destroy()));
  const tensors = tensorsOf(matrix);
  const rowBytes = Math.max(...tensors.map((bytes) => bytes.byteLength / matrix.rows));
  const fitting = Math.min(mostRows, Math.floor(bindingBytes(gpu) / rowBytes));
  try {
    for (let firstRow = 0; firstRow < matrix.rows; firstRow += fitting) {
      const rows = Math.min(fitting, matrix.rows - firstRow);
      const parts = tensors.map((bytes) => {
        const stride = bytes.byteLength / matrix.rows;
        return bytes.subarray(firstRow * stride, (firstRow + rows) * stride);
      });
      slices.push({ firstRow, rows, buffers: await place(gpu, matrix, parts) });
    }
  } catch (error) {
    free();
    throw error;
  }
  return { matrix, slices, free };
}

/** Buffers of one slice, in the order of the kernels' bindings. */
async function place(gpu: Gpu, matrix: Matrix, parts: Uint8Array[]): Promise<GPUBuffer[]> {
  const [first, ...rest] = await Promise.all(parts.map((part) => upload(gpu, atLeast16(part))));
  if (!("codes" in matrix)) return [first];
  return [first, first, ...rest, await upload(gpu, codebookOf(matrix), UNIFORM)];
}

const UNIFORM = 0x40; // GPUBufferUsage.UNIFORM, which not every runtime has as a global

/** Bytes of a matrix, whole rows of equal length each: codes and scales, or dense weights. */
function tensorsOf(matrix: Matrix): Uint8Array[] {
  if (!("codes" in matrix)) return [wholeEights(matrix)];
  return [matrix.codes, matrix.scales].map(({ buffer, byteOffset, byteLength }) =>
    new Uint8Array(buffer, byteOffset, byteLength)
  );
}

/** Dense rows padded with zeros to a multiple of 8 columns. */
function wholeEights({ rows, cols, dtype, bytes }: DenseMatrix): Uint8Array {
  if (cols % 8 === 0) return bytes;
  const width = dtype === "F32" ? 4 : 2;
  const stride = width * Math.ceil(cols / 8) * 8;
  const padded = new Uint8Array(rows * stride);
  for (let row = 0; row < rows; row++) {
    padded.set(bytes.subarray(row * cols * width, (row + 1) * cols * width), row * stride);
  }
  return padded;
}

/** The smallest buffer that a vec4 can be read from. */
function atLeast16(bytes: Uint8Array): Uint8Array {
  if (bytes.length >= 16) return bytes;
  const padded = new Uint8Array(16);
  padded.set(bytes);
  return padded;
}

/** The uniform of kernels/parts/weights: levels [16], and the factor of sums as two powers of two. */
function codebookOf({ format, scaleExponent }: QuantizedMatrix): Float32Array {
  const exponent = (format.decode === "table" ? 0 : 14) - scaleExponent;
  const half = Math.trunc(exponent / 2);
  const book = new Float32Array(20);
  book.set(format.levels);
  book.set([powerOfTwo(half), powerOfTwo(exponent - half)], 16);
  return book;
}

/** Runs one of the product kernels over all slices and runs of tokens: y [batch, rows]. */
async function product<M extends Matrix>(
  device: Device,
  name: KernelName,
  w: M | Loaded<M>,
  x: Float32Array,
  batch: number,
  { bias }: ProductOptions,
): Promise<Float32Array<ArrayBuffer>> {
  const gpu = device.gpu!;
  const { rows, cols } = matrixOf(w);
  const few = name.endsWith("matvec");
  const stride = UNIT * unitsPerRow(cols);
  const most = Math.max(1, Math.floor(bindingBytes(gpu) / (4 * Math.max(rows, stride))));
  const loaded = "slices" in w ? w : await load(device, w);
  const biasBuffer = await upload(gpu, bias ?? new Float32Array(1));
  const y = new Float32Array(batch * rows);
  for (let token = 0; token < batch; token += most) {
    const tokens = Math.min(most, batch - token);
    const xBuffer = await upload(gpu, padTokens(x.subarray(token * cols), tokens, cols, stride));
    const yBuffer = empty(gpu, 4 * tokens * rows);
    const step = await upload(gpu, Uint32Array.of(tokens, 0, 0, 0), UNIFORM);
    for (const slice of loaded.slices) {
      await run(gpu, kernelFor(name, gpu.features), {
        constants: {
          ...matrixConstants(gpu, loaded.matrix),
          ROWS: slice.rows,
          FIRST_ROW: slice.firstRow,
          OUT_ROWS: rows,
          BIAS: bias ? 1 : 0,
          ...(few && { BATCH: tokens, WORKGROUP: lanes(device) }),
        },
        buffers: [...slice.buffers, xBuffer, biasBuffer, yBuffer, ...(few ? [] : [step])],
        workgroups: few
          ? Math.ceil(slice.rows / 4)
          : Math.ceil(slice.rows / 32) * Math.ceil(tokens / 32),
      });
    }
    y.set(await download(gpu, yBuffer), token * rows);
    for (const buffer of [xBuffer, yBuffer, step]) buffer.destroy();
  }
  biasBuffer.destroy();
  if (loaded !== w) loaded.free();
  return y;
}

/** Constants that a matrix gives the parts `weights` or `dense`, all but ROWS. */
function matrixConstants(gpu: Gpu, matrix: Matrix): Record<string, number> {
  const common = { COLS: matrix.cols, F16_SUBNORMALS: gpu.f16Subnormals ? 1 : 0 };
  if (!("codes" in matrix)) {
    return { ...common, DTYPE: { F32: 0, F16: 1, BF16: 2 }[matrix.dtype] };
  }
  const { format: { bits, decode, scaling }, group } = matrix;
  return {
    ...common,
    GROUP: group === "row" ? WHOLE_ROW : group,
    BITS: bits,
    DECODE: { e2m1: 0, e2m0: 1, table: 2 }[decode],
    SCALING: { one: 0, two: 1, "zero-point": 2 }[scaling],
  };
}

/** Tokens of `cols` numbers, each padded with zeros to `stride`. */
function padTokens(x: Float32Array, batch: number, cols: number, stride: number): Float32Array {
  if (cols === stride) return x.subarray(0, batch * cols);
  const padded = new Float32Array(batch * stride);
  for (let token = 0; token < batch; token++) {
    padded.set(x.subarray(token * cols, (token + 1) * cols), token * stride);
  }
  return padded;
}

/** Bytes that one binding may have. */
function bindingBytes({ device: { limits } }: Gpu): number {
  return Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
}

function lanes({ software }: Device): number {
  return software ? LANES.software : LANES.hardware;
}

function matrixOf<M extends Matrix>(w: M | Loaded<M>): M {
  return "slices" in w ? w.matrix : w;
}

/** Batch of one or two tokens. */
function expectTokens(matrix: Matrix, x: Float32Array, options: ProductOptions): number {
  const batch = x.length === 2 * matrix.cols ? 2 : 1;
  expectShape(matrix, x, batch, options);
  return batch;
}

function expectShape(
  { name, rows, cols }: Matrix,
  x: Float32Array,
  batch: number,
  { bias }: ProductOptions,
): void {
  const product = `Cannot multiply "${name}" [${rows}, ${cols}]`;
  if (x.length !== batch * cols || !Number.isInteger(batch) || batch < 0) {
    const wanted = batch === 1 ? `[${cols}]` : `[${batch}, ${cols}]`;
    throw new TypeError(`${product} as x must be ${wanted}: got [${x.length}]`);
  }
  if (bias && bias.length !== rows) {
    throw new TypeError(`${product} as the bias must be [${rows}]: got [${bias.length}]`);
  }
}
