/**
 * What is timed: a kernel with a format on a piece of work, as products that are ready to be submitted.
 *
 * Each weight matrix lies on the device in as many copies as it takes to exceed the caches, and runs go
 * round them. Work is one matrix, or those of a token one after the other: all layers have the copies of one
 * layer. Every variant of one piece of work shares x [batch, cols] and y [batch, rows].
 *
 * Before it is timed a variant must agree with the f64 reference: at a small shape with short ends,
 * all outputs; at its own shape, some rows of the first and the last token.
 *
 * @module
 */
import { worstOf } from "../lib/check_checkpoint.ts";
import type { Device } from "../lib/device.ts";
import { type Dispatch, download, submit } from "../lib/launch.ts";
import { boundOn, load, type Loaded } from "../lib/linear.ts";
import * as reference from "../lib/linear_reference.ts";
import type { Matrix } from "../lib/linear_reference.ts";
import type { Group, QuantizedMatrix } from "../lib/pack.ts";
import { prepareProduct } from "../lib/prepared_product.ts";
import { kindOf } from "../lib/tiling.ts";
import { tune } from "../lib/tuning.ts";
import { type Buffers, copyBuffer, freeBuffers, makeBuffers, type Placed } from "./buffers.ts";
import { denseMatrix, packedMatrix, someRows } from "./made_matrices.ts";
import { placeRival, rivalBound, type RivalName } from "./rivals.ts";
import type { Shape } from "./shapes.ts";
import { storedOf } from "./stored.ts";

/** A kernel of this toolkit, which its tiling names, or a rival; and a format, or f16 or f32. */
export interface Choice {
  readonly kernel: "own" | RivalName;
  readonly format: string;
}

/** What is multiplied: one matrix, or all those of a token one after the other. */
export interface Work {
  readonly case: string;
  readonly name: string;
  readonly shapes: readonly Shape[];
  /** Which of the shapes a run multiplies with, one after the other. */
  readonly order: readonly number[];
  readonly batch: number;
  readonly group: Group;
  /** Whether tilings are measured first. */
  readonly tuning: boolean;
}

/** A variant that agrees with the reference, ready to be timed. */
export interface Variant extends Choice {
  readonly work: Work;
  /** Names of the kernels that run. */
  readonly kernels: string;
  /** By copy, the dispatches of the whole work, once. */
  readonly runs: readonly (readonly Dispatch[])[];
  /** Bytes of weights, activations and outputs of one run. */
  readonly bytes: number;
  free(): void;
}

/** Of the smallest matrices these are fewer bytes than are wanted; bun-webgpu holds no more buffers. */
const MOST_COPIES = 64;
/** Odd rows, 13 units, a short last group. */
const SMALL: Shape = { name: "", rows: 37, cols: 416 };

/** A kernel that does not agree with the reference. */
export class WrongKernel extends Error {}

/**
 * Makes a variant and checks it.
 *
 * @throws {WrongKernel} if it does not agree with the reference
 * @throws {Error} if the device refuses it, as out of memory
 */
export async function makeVariant(
  device: Device,
  work: Work,
  choice: Choice,
  buffers: readonly Buffers[],
  workingSet: number,
): Promise<Variant> {
  await checkSmall(device, work, choice);
  const placed: Placed[] = [];
  const free = () => placed.forEach((one) => one.free());
  try {
    const matrices = work.shapes.map((shape) => matrixOf(shape, choice.format, work.group));
    const weightBytes = matrices.reduce((sum, matrix) => sum + bytesOf(matrix), 0);
    const copies = copiesFor(weightBytes, workingSet);
    for (const [i, matrix] of matrices.entries()) {
      placed.push(await place(device, choice, matrix, buffers[i], copies, work.tuning));
    }
    const runs = Array.from({ length: copies }, (_, first) => runFrom(first, placed, work.order));
    const bytes = work.order.reduce((sum, i) => {
      const { rows, cols } = matrices[i];
      return sum + bytesOf(matrices[i]) + 4 * work.batch * (rows + cols);
    }, 0);
    await submit(device.gpu!, runs[0]);
    for (const [i, matrix] of matrices.entries()) {
      await checkSome(device, choice, matrix, buffers[i]);
    }
    const names = new Set(runs[0].map(({ kernel }) => kernel.name));
    return { ...choice, work, kernels: [...names].join("+"), runs, bytes, free };
  } catch (error) {
    free();
    throw error;
  }
}

/** The dispatches of a run: the next copy of a matrix each time that it is multiplied with. */
function runFrom(first: number, placed: readonly Placed[], order: readonly number[]): Dispatch[] {
  const met = placed.map(() => first);
  return order.flatMap((i) => placed[i].products[met[i]++ % placed[i].products.length]);
}

/** A matrix of random bits in a format, f16 or f32. */
export function matrixOf(shape: Shape, name: string, group: Group): Matrix {
  if (name === "f16" || name === "f32") return denseMatrix(shape, name === "f16" ? "F16" : "F32");
  return packedMatrix(shape, storedOf(name, group));
}

/** A matrix on the device, so often that all copies exceed a working set, `MOST_COPIES` times at most. */
export async function loadCopies(
  device: Device,
  matrix: Matrix,
  workingSet: number,
): Promise<Loaded[]> {
  return await copiesOf(device, matrix, copiesFor(bytesOf(matrix), workingSet));
}

function copiesFor(bytes: number, workingSet: number): number {
  return Math.max(1, Math.min(MOST_COPIES, Math.ceil(workingSet / bytes)));
}

async function copiesOf(device: Device, matrix: Matrix, copies: number): Promise<Loaded[]> {
  const first = await load(device, matrix);
  const loaded = [first];
  while (loaded.length < copies) loaded.push(await copyOf(device, first));
  return loaded;
}

function bytesOf(matrix: Matrix): number {
  return "codes" in matrix
    ? matrix.codes.byteLength + matrix.scales.byteLength
    : matrix.bytes.byteLength;
}

async function place(
  device: Device,
  { kernel }: Choice,
  matrix: Matrix,
  buffers: Buffers,
  copies: number,
  tuning: boolean,
): Promise<Placed> {
  if (kernel !== "own") {
    return await placeRival(device, kernel, matrix as QuantizedMatrix, buffers, copies);
  }
  const kind = kindOf(buffers.tokens);
  const loaded = await copiesOf(device, matrix, copies);
  if (tuning) await tune(device, loaded.flatMap(({ slices }) => slices), buffers.tokens);
  const prepared = await Promise.all(
    loaded.map((one) => prepareProduct(device, kind, one, buffers)),
  );
  return {
    products: prepared.map(({ dispatches }) => dispatches),
    free: () => [...loaded, ...prepared].forEach((one) => one.free()),
  };
}

/** A loaded matrix once more, copied on the device. */
async function copyOf({ gpu }: Device, { matrix, slices }: Loaded): Promise<Loaded> {
  const made = await Promise.all(slices.map(async (slice) => {
    const weights = [...new Set(slice.buffers.slice(0, slice.packed ? 3 : 1))];
    const copies = await Promise.all(weights.map((buffer) => copyBuffer(gpu!, buffer)));
    const buffers = slice.buffers.map((buffer) => copies[weights.indexOf(buffer)] ?? buffer);
    return { slice: { ...slice, buffers }, copies };
  }));
  return {
    matrix,
    slices: made.map(({ slice }) => slice),
    free: () => made.forEach(({ copies }) => copies.forEach((buffer) => buffer.destroy())),
  };
}

const checked = new WeakMap<Device, Set<string>>();

/** All outputs at a small shape, once for each kernel, format, group and batch. */
async function checkSmall(device: Device, work: Work, choice: Choice): Promise<void> {
  const { group, batch } = work;
  const done = checked.get(device) ?? new Set();
  checked.set(device, done);
  const key = [choice.kernel, choice.format, group, batch].join(" ");
  if (done.has(key)) return;
  const buffers = await makeBuffers(device, { ...work, shapes: [SMALL] });
  const matrix = matrixOf(SMALL, choice.format, group);
  const placed = await place(device, choice, matrix, buffers[0], 1, false);
  await submit(device.gpu!, placed.products[0]);
  const y = await download(device.gpu!, buffers[0].y);
  expectWithin(device, choice, matrix, buffers[0].values, batch, y);
  placed.free();
  freeBuffers(buffers);
  done.add(key);
}

/** Eight rows of the first token and of the last, at the shape that is timed. */
async function checkSome(
  device: Device,
  choice: Choice,
  matrix: Matrix,
  { tokens, values, y }: Buffers,
): Promise<void> {
  const { rows, cols } = matrix;
  const some = Array.from({ length: 8 }, (_, i) => Math.floor(i * (rows - 1) / 7));
  const all = await download(device.gpu!, y);
  const part = someRows(matrix, some);
  for (const token of new Set([0, tokens - 1])) {
    const x = values.subarray(token * cols, (token + 1) * cols);
    const got = Float32Array.from(some, (row) => all[token * rows + row]);
    const kind = tokens > 2 ? 3 : 1;
    expectWithin(device, choice, part, x, 1, got, kind);
  }
}

/** `asBatch`: of which batch's kernel the bound is. */
function expectWithin(
  device: Device,
  choice: Choice,
  matrix: Matrix,
  x: Float32Array,
  batch: number,
  y: Float32Array,
  asBatch = batch,
): void {
  const wanted = "codes" in matrix
    ? reference.matmul(matrix, x, batch)
    : reference.denseMatmul(matrix, x, batch);
  const bound = choice.kernel === "own"
    ? boundOn(device, matrix, x, batch, asBatch)
    : rivalBound(choice.kernel, matrix as QuantizedMatrix, x);
  const worst = worstOf(y, wanted, bound);
  if (worst <= 1) return;
  throw new WrongKernel(
    `Cannot time ${choice.kernel} with ${choice.format} at batch ${asBatch} as errors must stay ` +
      `within the bound: got ${worst} times it`,
  );
}
