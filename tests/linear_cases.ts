/**
 * Claims about the linear kernels as plain functions of a device, so that linear_test.ts runs them on
 * each binding and mutation_test.ts on kernels that were broken on purpose.
 *
 * Tolerances are the bounds that the kernels' headers state; all else is exact.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Device } from "../lib/device.ts";
import { f16Bits, f16Value, narrow } from "../lib/float16.ts";
import { gram } from "../lib/gram_reference.ts";
import { kernelFor } from "../lib/kernels.ts";
import { allocate, download, run, upload } from "../lib/launch.ts";
import * as linear from "../lib/linear.ts";
import * as reference from "../lib/linear_reference.ts";
import type { DenseMatrix } from "../lib/linear_reference.ts";
import type { Group, QuantizedMatrix } from "../lib/pack.ts";
import { stepOf } from "../lib/product.ts";
import { dequantize, quantize } from "../lib/quantizer.ts";
import { UNIFORM } from "../lib/resident.ts";
import { fill, normal, uniform } from "./random.ts";

/** One format for each pair of decode and scaling: all that a kernel can tell apart. */
export const KINDS = [
  "fp4-sym",
  "fp4-asym",
  "nf4-sym",
  "nf4-asym",
  "int4-asym",
  "fp3-sym",
  "fp3-asym",
  "nf3-sym",
  "nf3-asym",
  "int3-asym",
];

/** Rows, columns, group: why it might hurt. */
export const SHAPES: readonly (readonly [number, number, Group])[] = [
  [5, 93, 32], // odd columns, a short last group, one row beyond a workgroup's four
  [33, 1000, 16], // two groups a unit, one row beyond a tile
  [3, 172, "row"], // fewer rows than a workgroup takes, the whole row in one group
  [40, 384, 128], // full groups, more units than a CPU has lanes
  [1, 1, 64], // one weight
  [9, 40, 16], // a last unit of one group only
  [6, 608, 256], // a group of several units, the last short
];

/** Coded scales: each width of a group's codes with and without factors of rows, and each scaling. */
export const CODED: readonly (readonly [string, string])[] = [
  ["nf4-asym", "e1m3-row"], // a byte a group, rows that begin half-way into a word
  ["fp4-asym", "e2m2-tensor"], // rows that begin at any byte
  ["nf3-sym", "e1m3-tensor"], // half a byte a group
  ["int4-asym", "e2m2-row"], // a code and a zero-point in a byte
  ["lloyd3-asym", "e4m4-row"], // two bytes a group
  ["fp4-sym", "e8m0-tensor"], // a byte a group, f32's own exponents
  ["int3-asym", "e5m3-tensor"], // a code and a zero-point in two bytes
];

/** The device as if a GPU did the work: with the kernels and parts that a GPU gets. */
export function asGpu(device: Device): Device {
  const features = new Set([...device.gpu!.features].filter((feature) => feature !== "octets"));
  return { ...device, software: false, gpu: { ...device.gpu!, features, choices: new Map() } };
}

/** The device with f16 arithmetic for products of a token or two, as `--accuracy fast` opens it. */
export function asFast(device: Device): Device {
  const features = new Set([...device.gpu!.features, "halves"]);
  return { ...device, accuracy: "fast", gpu: { ...device.gpu!, features, choices: new Map() } };
}

/** The same with activations of a byte. */
export function asBytes(device: Device): Device {
  const features = new Set([...device.gpu!.features, "bytes"]);
  return { ...device, accuracy: "fast", gpu: { ...device.gpu!, features, choices: new Map() } };
}

/** The device as a CPU with vectors narrower than eight, such as SwiftShader. */
export function asNarrow(device: Device): Device {
  return { ...asGpu(device), software: true };
}

/** A native object as it is but for one property. */
export function overriding<T extends object>(object: T, name: keyof T, value: unknown): T {
  return new Proxy({} as T, {
    get(_, key) {
      if (key === name) return value;
      const known = Reflect.get(object, key, object);
      return typeof known === "function" ? known.bind(object) : known;
    },
  });
}

/** The device as if a binding had so many bytes at most. */
export function withBindings(device: Device, bytes: number): Device {
  const gpu = device.gpu!;
  const limits = overriding(gpu.device.limits, "maxStorageBufferBindingSize", bytes);
  return { ...device, gpu: { ...gpu, device: overriding(gpu.device, "limits", limits) } };
}

/** Random W of a shape. */
export function weights(
  rows: number,
  cols: number,
  format: string,
  group: Group,
  scales?: string,
): QuantizedMatrix {
  const w = fill(rows * cols, normal(rows + 7 * cols));
  return quantize(w, { rows, cols, format, group, scales, name: "w", clip: scales !== undefined });
}

/** Integers whose zero-points are no whole numbers, as other quantisers may leave them. */
export function fractionalZeros(rows: number, cols: number, format: string): QuantizedMatrix {
  const q = weights(rows, cols, format, 16);
  q.scales.forEach((bits, i) => {
    if (i % 2 === 1) q.scales[i] = f16Bits(f16Value(bits) + 1 / 3 - i % 3);
  });
  return q;
}

/** x [batch, cols], some of it 0. */
export function tokens(batch: number, cols: number): Float32Array<ArrayBuffer> {
  const next = uniform(batch + 3 * cols);
  return fill(batch * cols, () => next() < 0.05 ? 0 : 2 * next() - 1);
}

/** Fails, saying where, if any output is further from the reference than its bound. */
export function within(y: Float32Array, wanted: Float32Array, bounds: Float64Array): void {
  assert.equal(y.length, wanted.length);
  let worst = 0, where = 0;
  y.forEach((value, i) => {
    const error = Math.abs(value - wanted[i]);
    const share = error === 0 ? 0 : error / bounds[i];
    if (!(share <= worst)) [worst, where] = [share, i];
  });
  assert.ok(
    worst <= 1,
    `output ${where} is ${worst} bounds off: got ${y[where]}, wanted ${wanted[where]}`,
  );
}

/** matvec agrees with the reference, for one token or two, with or without bias. */
export async function matvecAgrees(
  device: Device,
  q: QuantizedMatrix,
  { batch = 1, biased = false, x = tokens(batch, q.cols) } = {},
): Promise<void> {
  const bias = biased ? fill(q.rows, normal(q.rows)) : undefined;
  const y = await linear.matvec(device, q, x, { bias });
  const bounds = linear.boundOn(device, q, x, batch);
  if (bias) bounds.forEach((bound, i) => bounds[i] = bound + 2 ** -23 * Math.abs(bias[i % q.rows]));
  within(y, reference.matvec(q, x, { bias }), bounds);
}

/** The same by `--accuracy fast`: within its bound, and beyond that of f32, so that it is what ran. */
export async function fastAgrees(
  device: Device,
  name: string,
  batch: 1 | 2,
  group: Group,
): Promise<void> {
  const q = weights(35, 1100, name, group);
  await matvecAgrees(device, q, { batch, biased: true });
  const x = tokens(batch, 1100);
  const [exact, bounds] = [reference.matvec(q, x), reference.matvecBound(q, x)];
  const got = await linear.matvec(device, q, x);
  assert.ok(got.some((y, i) => Math.abs(y - exact[i]) > bounds[i]), `${name} ran in less than f32`);
}

/** matvec with whole numbers of a byte, 127 in each unit, is off by no more than f32 is. */
export async function bytesAgree(
  device: Device,
  name: string,
  [rows, cols, group]: readonly [number, number, Group] = [35, 1100, 32],
): Promise<void> {
  const q = weights(rows, cols, name, group);
  const whole = (i: number) => i % cols % 32 ? i * 37 % 255 - 127 : 127;
  const x = Float32Array.from({ length: 2 * cols }, (_, i) => whole(i) * (i < cols ? 1 : 16));
  within(await linear.matvec(device, q, x), reference.matvec(q, x), reference.matvecBound(q, x));
}

/** matmul agrees with the reference. */
export async function matmulAgrees(
  device: Device,
  q: QuantizedMatrix,
  batch: number,
  { biased = false, x = tokens(batch, q.cols) } = {},
): Promise<void> {
  const bias = biased ? fill(q.rows, normal(q.rows)) : undefined;
  const y = await linear.matmul(device, q, x, batch, { bias });
  const bounds = reference.matmulBound(q, x, batch);
  if (bias) bounds.forEach((bound, i) => bounds[i] = bound + 2 ** -23 * Math.abs(bias[i % q.rows]));
  within(y, reference.matmul(q, x, batch, { bias }), bounds);
}

/** dequantise gives level x scale, the last bit apart at most. */
export async function dequantiseAgrees(device: Device, q: QuantizedMatrix): Promise<void> {
  const wanted = dequantize(q);
  within(await linear.dequantise(device, q), wanted, Float64Array.from(wanted, ulp));
}

function ulp(value: number): number {
  return Math.abs(value) * 2 ** -23;
}

/** A dense W of a shape. */
export function denseWeights(rows: number, cols: number, dtype: DenseMatrix["dtype"]): DenseMatrix {
  return { name: "w", rows, cols, dtype, bytes: narrow(fill(rows * cols, normal(cols)), dtype) };
}

/** denseMatvec and denseMatmul agree with the reference. */
export async function denseAgrees(device: Device, w: DenseMatrix, batch: number): Promise<void> {
  const x = tokens(batch, w.cols);
  const wanted = reference.denseMatmul(w, x, batch);
  const y = batch <= 2
    ? await linear.denseMatvec(device, w, x)
    : await linear.denseMatmul(device, w, x, batch);
  within(y, wanted, reference.denseBound(w, x, batch));
}

/**
 * gram, run twice over x [tokens, stride], adds X^T X of its first `cols` columns to H each time; what
 * lies beyond the columns and the tokens is not 0.
 */
export async function gramAgrees(
  { gpu }: Device,
  [count, cols, stride]: readonly [number, number, number],
): Promise<void> {
  const x = fill((count + 16) * stride, normal(cols));
  const own = Float32Array.from({ length: count * cols }, (_, i) => {
    return x[Math.floor(i / cols) * stride + i % cols];
  });
  const step = await upload(gpu!, stepOf(count), UNIFORM), xBuffer = await upload(gpu!, x);
  const first = cols < 100 ? cols : 40; // rows of H, others in a buffer of their own
  const runs = await Promise.all(
    [[0, first], [first, cols - first]].filter(([, rows]) => rows).map(
      async ([FIRST_ROW, ROWS]) => {
        const h = await allocate(gpu!, 4 * ROWS * cols);
        const constants = { COLS: cols, STRIDE: stride, FIRST_ROW, ROWS };
        const workgroups = Math.ceil(ROWS / 32) * Math.ceil(cols / 32);
        return { constants, buffers: [xBuffer, h, step], workgroups };
      },
    ),
  );
  const [wanted, sizes] = [new Float64Array(cols * cols), new Float64Array(cols * cols)];
  for (let times = 0; times < 2; times++) {
    for (const launch of runs) await run(gpu!, kernelFor("gram", gpu!.features), launch);
    gram(wanted, own, cols);
    gram(sizes, own.map(Math.abs), cols);
  }
  const y = new Float32Array(cols * cols);
  for (const { constants: { FIRST_ROW, ROWS }, buffers: [, h] } of runs) {
    y.set(await download(gpu!, h, 4 * ROWS * cols), FIRST_ROW * cols);
    h.destroy();
  }
  for (const buffer of [xBuffer, step]) buffer.destroy();
  within(y, Float32Array.from(wanted), sizes.map((size) => 2 * (count + 2) * 2 ** -24 * size));
}

/** W with scale pairs of a given ratio: a weight of every code, the small side 1 / ratio as large. */
export function lopsided(format: string, ratio: number): QuantizedMatrix {
  const next = normal(ratio);
  const w = fill(8 * 256, () => {
    const weight = next();
    return weight < 0 ? weight / ratio : weight;
  });
  return quantize(w, { rows: 8, cols: 256, format, group: 32 });
}
