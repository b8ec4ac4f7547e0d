/**
 * Multiplies with every quantised matrix of a checkpoint on a device and holds each output against
 * the reference.
 *
 *   batches 1 and 2 by matvec, 17 by matmul
 *   x random in [-1, 1), and one-hot, which reads single columns of W
 *   worst = max |y - reference| / bound (linear_reference.ts); above 1 the device is wrong
 *
 * A device of fast accuracy is held to the bound of f16 arithmetic or 8-bit activations where it
 * uses those, one with matrix units to theirs at batch 17.
 *
 * x is seeded by the matrix' shape, so that a failure repeats. Where a bound is 0 the output must
 * be exactly 0.
 *
 * @module
 */
import { openCheckpoint } from "./checkpoint.ts";
import type { Device } from "./device.ts";
import { boundOn, load, matmul, matvec } from "./linear.ts";
import * as reference from "./linear_reference.ts";
import type { QuantizedMatrix } from "./pack.ts";
import { packedTensors, readPacked } from "./packed_tensors.ts";
import { quote } from "./strict_json.ts";
import { kindOf, tilingOf } from "./tiling.ts";
import { tune, type TuneOptions } from "./tuning.ts";

/** The worst output of one matrix at one batch, in units of the bound. */
export interface CheckedTensor {
  readonly name: string;
  readonly batch: number;
  /** What multiplied: a kernel, or "reference". */
  readonly kernel: string;
  readonly worst: number;
}

/** How to check. */
export interface CheckOptions {
  readonly signal?: AbortSignal;
  /** Told how many packed bytes are done. */
  readonly onProgress?: (doneBytes: number, totalBytes: number, what: string) => void;
  /** Measure candidates for the products before they are checked. */
  readonly tune?: TuneOptions;
}

/** Batches that are checked. */
export const checkedBatches: readonly number[] = [1, 2, 17];

/** What stands for a worst that is no finite number, which JSON cannot hold. */
const NOT_FINITE = Number.MAX_VALUE;

/**
 * Checks every quantised matrix of a file, an index or a folder.
 *
 * @throws {Error} if there are none, or the device is lost
 */
export async function checkCheckpoint(
  path: string,
  device: Device,
  { signal, onProgress, tune }: CheckOptions = {},
): Promise<CheckedTensor[]> {
  const matrices = (await openCheckpoint(path)).files.flatMap(packedTensors);
  if (matrices.length === 0) {
    throw new Error(`Cannot check ${quote(path)} as it must hold afpq tensors: got none`);
  }
  const totalBytes = matrices.reduce((sum, { codes }) => sum + codes.end - codes.begin, 0);
  const checked: CheckedTensor[] = [];
  let doneBytes = 0;
  for (const packed of matrices) {
    signal?.throwIfAborted();
    onProgress?.(doneBytes, totalBytes, packed.name);
    checked.push(...await checkMatrix(device, await readPacked(packed), tune));
    doneBytes += packed.codes.end - packed.codes.begin;
  }
  return checked;
}

/** Checks one matrix at every batch. */
export async function checkMatrix(
  device: Device,
  q: QuantizedMatrix,
  tuning?: TuneOptions,
): Promise<CheckedTensor[]> {
  const loaded = await load(device, q);
  try {
    const checked: CheckedTensor[] = [];
    for (const batch of checkedBatches) {
      let worst = 0;
      if (tuning) await tune(device, loaded.slices, batch, tuning);
      for (const x of [randomTokens(q, batch), oneHotTokens(q, batch)]) {
        const y = batch <= 2
          ? await matvec(device, loaded, x)
          : await matmul(device, loaded, x, batch);
        const bound = boundOn(device, q, x, batch);
        worst = Math.max(worst, worstOf(y, reference.matmul(q, x, batch), bound));
      }
      const [slice] = loaded.slices;
      const kernel = slice ? tilingOf(device, kindOf(batch), slice, batch).name : "reference";
      checked.push({ name: q.name, batch, kernel, worst });
    }
    return checked;
  } finally {
    loaded.free();
  }
}

/** max |y - wanted| / bound, 0 / 0 being 0. */
export function worstOf(y: Float32Array, wanted: Float32Array, bound: Float64Array): number {
  let worst = 0;
  for (let i = 0; i < wanted.length; i++) {
    const error = y[i] === wanted[i] ? 0 : Math.abs(y[i] - wanted[i]); // both may be infinite
    const ratio = error === 0 ? 0 : error / bound[i];
    if (!(ratio <= worst)) worst = Number.isFinite(ratio) ? ratio : NOT_FINITE;
  }
  return worst;
}

/** x [batch, cols] in [-1, 1). */
function randomTokens({ rows, cols }: QuantizedMatrix, batch: number): Float32Array {
  const random = randomNumbers(rows * 31 + cols * 17 + batch);
  return Float32Array.from({ length: batch * cols }, () => 2 * random() - 1);
}

/** x [batch, cols], a single 1 a token: the first column, the last, then any. */
function oneHotTokens({ rows, cols }: QuantizedMatrix, batch: number): Float32Array {
  const random = randomNumbers(rows * 13 + cols * 7 + batch);
  const x = new Float32Array(batch * cols);
  for (let token = 0; token < batch; token++) {
    const column = token === 0 ? 0 : token === 1 ? cols - 1 : Math.floor(random() * cols);
    x[token * cols + column] = 1;
  }
  return x;
}

/** Numbers in [0, 1) from a seed (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
