/**
 * Products with packed and dense weights on a device: each function checks shapes, places buffers and
 * launches one kernel, that of its name. Without a GPU it is the reference that runs.
 *
 * A matrix given as it is goes up, is used once and is freed; `load()` keeps it on the device. A matrix
 * beyond one binding goes up in slices of rows, a batch beyond one goes in runs of tokens; neither
 * changes a bit of the result.
 *
 * @module
 */

import { byteLevelsOf } from "./byte_levels.ts";
import type { Device } from "./device.ts";
import { kernelFor } from "./kernels.ts";
import { download, empty, run, upload } from "./launch.ts";
import * as reference from "./linear_reference.ts";
import type { DenseMatrix, Matrix, ProductOptions } from "./linear_reference.ts";
import { type QuantizedMatrix, UNIT, unitsPerRow } from "./pack.ts";
import { createRooms, dequantiseOf, launchesOf, stepOf } from "./product.ts";
import { bindingBytes, load, type Loaded, reachOf, UNIFORM } from "./resident.ts";
import { fitsHalves, type ProductKind, tilingOf } from "./tiling.ts";

export type { DenseMatrix, ProductOptions } from "./linear_reference.ts";
export { load, type Loaded } from "./resident.ts";

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
 * const q = quantize(Float32Array.of(3, -1.5, 6, 0), { rows: 2, cols: 2, format: "fp4-asym" });
 * assert.deepEqual(await matvec(device, q, Float32Array.of(1, 1)), Float32Array.of(1.5, 6));
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

/**
 * How far a product with one token or two (matvec) or more (matmul) on this device may be off; `kernels`
 * is the batch whose kernels ran, of which x [batch, cols] may be a part.
 */
export function boundOn(
  { matrixUnits, gpu }: Device,
  q: Matrix,
  x: Float32Array,
  batch: number,
  kernels = batch,
): Float64Array {
  const fragments = kernels > 2 && matrixUnits;
  if (fragments && ("codes" in q || q.dtype === "F16")) {
    return reference.fragmentsBound(q, x, batch);
  }
  if (!("codes" in q)) return reference.denseBound(q, x, batch);
  if (kernels > 2) return reference.matmulBound(q, x, batch);
  if (gpu?.features.has("bytes") && byteLevelsOf(q)) return reference.matvecBytesBound(q, x);
  const halves = gpu?.features.has("halves") && fitsHalves({ reach: reachOf(q) });
  return halves ? reference.matvecFastBound(q, x) : reference.matvecBound(q, x);
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
  return await product(device, "matvec", w, x, batch, options);
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
  return await product(device, "matmul", w, x, batch, options);
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
  const loaded = "slices" in w ? w : await load(device, w);
  const all = new Float32Array(q.rows * q.cols);
  for (const slice of loaded.slices) {
    for (let first = 0; first < slice.rows; first += most) {
      const rows = Math.min(most, slice.rows - first);
      const out = empty(gpu, 4 * rows * q.cols);
      const { name, launch } = dequantiseOf(device, slice, out, first, rows);
      await run(gpu, kernelFor(name, gpu.features), launch);
      all.set(await download(gpu, out), (slice.firstRow + first) * q.cols);
      out.destroy();
    }
  }
  if (loaded !== w) loaded.free();
  return all;
}

/** Runs one of the product kernels over all slices and runs of tokens: y [batch, rows]. */
async function product<M extends Matrix>(
  device: Device,
  kind: ProductKind,
  w: M | Loaded<M>,
  x: Float32Array,
  batch: number,
  { bias }: ProductOptions,
): Promise<Float32Array<ArrayBuffer>> {
  const gpu = device.gpu!;
  const { rows, cols } = matrixOf(w);
  const stride = UNIT * unitsPerRow(cols);
  const most = Math.max(1, Math.floor(bindingBytes(gpu) / (4 * Math.max(rows, stride))));
  const loaded = "slices" in w ? w : await load(device, w);
  const biasBuffer = await upload(gpu, bias ?? new Float32Array(1));
  const y = new Float32Array(batch * rows);
  for (let token = 0; token < batch; token += most) {
    const tokens = Math.min(most, batch - token);
    const xBuffer = await upload(gpu, padTokens(x.subarray(token * cols), tokens, cols, stride));
    const yBuffer = empty(gpu, 4 * tokens * rows);
    const step = await upload(gpu, stepOf(tokens), UNIFORM);
    const { room, free } = createRooms(gpu);
    for (const slice of loaded.slices) {
      const tiling = tilingOf(device, kind, slice, Math.min(batch, most)); // the same for all runs
      const product = {
        kind,
        slice,
        tokens,
        x: xBuffer,
        y: yBuffer,
        outRows: rows,
        bias: bias ? biasBuffer : null,
        unused: biasBuffer,
        step,
        room,
      };
      for (const { name, launch } of launchesOf(device, product, tiling)) {
        await run(gpu, kernelFor(name, gpu.features), launch);
      }
    }
    y.set(await download(gpu, yBuffer), token * rows);
    for (const buffer of [xBuffer, yBuffer, step]) buffer.destroy();
    free();
  }
  biasBuffer.destroy();
  if (loaded !== w) loaded.free();
  return y;
}

/** Tokens of `cols` numbers, each padded with zeros to `stride`. */
export function padTokens(
  x: Float32Array,
  batch: number,
  cols: number,
  stride: number,
): Float32Array {
  if (cols === stride) return x.subarray(0, batch * cols);
  const padded = new Float32Array(batch * stride);
  for (let token = 0; token < batch; token++) {
    padded.set(x.subarray(token * cols, (token + 1) * cols), token * stride);
  }
  return padded;
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
