/**
 * Arithmetic that a device may have beyond exact f32, and whether it gets it right; where it does, the
 * device has one trait more, by which kernels are chosen.
 *
 *   halves      f16 products of a token or two: `--accuracy fast`. The smallest FP levels are subnormal
 *               f16, so a device must compute with those
 *   bytes       packed products of four bytes for a token or two: `--accuracy fast`, where they are one
 *               instruction and no polyfill. WebGPU does not say where, so the GPUs are listed here
 *   fragments   matrix units, f16 in and f32 out: `--matrix-units`. Experimental in WebGPU, so every
 *               position of a fragment is tried
 *
 * @module
 */

import { f16Bits, f16Value } from "./float16.ts";
import { fragmentSide, sharesOut } from "./fragment.ts";
import { kernelFor } from "./kernels.ts";
import { download, empty, type Gpu, run, upload } from "./launch.ts";
import { expect } from "./self_test.ts";

type Log = (line: string) => void;

/** Whether a device may do better than f32 for a token or two, in one way or both; `log` is told why not. */
export async function mayBeFast(gpu: Gpu | null, log?: Log): Promise<boolean> {
  const bytes = gpu !== null && gpu.features.has("bytes offered") &&
    await allows(gpu, "bytes", [byteTest], (reason) => {
      log?.(`No activations of a byte (${reason}): f16 or exact products it is`);
    });
  const halves = await allows(gpu, "halves", [halfTest], (reason) => {
    log?.(`No ${bytes ? "f16 arithmetic" : "fast accuracy"} (${reason}): exact products it is`);
  });
  return bytes || halves;
}

/** Whether matrix units may multiply many tokens on this device; `log` is told why not. */
export async function mayUseUnits(gpu: Gpu | null, log?: Log): Promise<boolean> {
  return await allows(gpu, "fragments", [fragmentTest, halfTest], (reason) => {
    log?.(`No matrix units (${reason}): other kernels do the work`);
  });
}

/** Gives a device a trait if it passes tests. */
async function allows(
  gpu: Gpu | null,
  trait: string,
  tests: readonly ((gpu: Gpu) => Promise<void>)[],
  refuse: Log,
): Promise<boolean> {
  try {
    if (!gpu) throw new Error("it is no GPU");
    for (const test of tests) await test(gpu);
    Object.assign(gpu, { features: new Set([...gpu.features, trait]) });
    return true;
  } catch (error) {
    refuse((error as Error).message);
    return false;
  }
}

/** Pairs of f16 bits: a level of e2m1 as its bits stand for it, 2^-14 times too small, and an f16. */
const HALVES: readonly (readonly [number, number, number, number])[] = [
  [0x0200, 0x8200, 0x7400, 0x7000], // +-2^-15 x 2^14, 2^13
  [0x0e00, 0x0001, 0x7000, 0x7800], // 6 2^-14 x 2^13, 2^-24 x 2^15
  [0x3c00, 0xbc00, 0x0001, 0x0000], // 2^-24, and nothing
  [0x4400, 0x3800, 0x4400, 0x3c00], // 16 and 0.5
];

/** What y [4] of self_test_half must be: every product and sum is exact. */
function expectedHalves(): number[] {
  return HALVES.map(([a, b, c, d]) => f16Value(a) * f16Value(c) + f16Value(b) * f16Value(d));
}

/** Throws where a device has no f16 arithmetic, or computes wrongly, subnormals included. */
export async function halfTest(gpu: Gpu): Promise<void> {
  if (!gpu.features.has("shader-f16")) throw new Error("it has no f16 arithmetic");
  const words = (at: number) => Uint32Array.from(HALVES, (row) => row[at] | row[at + 1] << 16);
  const [v, t] = await Promise.all([upload(gpu, words(0)), upload(gpu, words(2))]);
  const y = empty(gpu, 16);
  const launch = { constants: {}, buffers: [v, t, y], workgroups: 1 };
  await run(gpu, kernelFor("self_test_half", gpu.features), launch);
  expect("f16 arithmetic", [...await download(gpu, y)], expectedHalves());
  for (const buffer of [v, t, y]) buffer.destroy();
}

/** Bytes whose products and sums reach the ends of what kernels make of them. */
const BYTES: readonly (readonly [number[], number[]])[] = [
  [[12, -12, 12, -12], [127, -127, 127, -127]],
  [[-127, -127, -127, -127], [127, 127, 127, 127]],
  [[1, 2, 3, 4], [-5, 6, -7, 8]],
  [[0, 15, 0, -1], [99, 0, -99, -128]],
];

/** What y [4] of self_test_bytes must be. */
function expectedBytes(): number[] {
  return BYTES.map(([v, t]) => v.reduce((sum, byte, i) => sum + byte * t[i], 1000));
}

/** Throws where a device has no packed products of bytes, or computes them wrongly. */
export async function byteTest(gpu: Gpu): Promise<void> {
  const [v, t] = await Promise.all(
    [0, 1].map((at) => upload(gpu, Int32Array.from(BYTES.flatMap((pair) => pair[at])))),
  );
  const y = empty(gpu, 16);
  const launch = { constants: {}, buffers: [v, t, y], workgroups: 1 };
  await run(gpu, kernelFor("self_test_bytes", gpu.features), launch);
  expect("products of bytes", [...await download(gpu, y)], expectedBytes());
  for (const buffer of [v, t, y]) buffer.destroy();
}

/**
 * Whether an adapter is one whose packed product of bytes is a single instruction in the machine code
 * that its compiler was seen to make: see bench/README.md.
 */
export function hasBytes({ info: { vendor, architecture } }: GPUAdapter): boolean {
  return vendor === "amd" && /^rdna-[23]$/.test(architecture);
}

/** WebGPU feature of matrix units, not yet standard. */
export const MATRIX_UNITS = "chromium-experimental-subgroup-matrix";

/** A by rows or B by columns: whole numbers, no two rows or columns alike, whose sums f16 cannot hold. */
function fragmentOf(side: number, seed: number): number[] {
  return Array.from(
    { length: side * side },
    (_, i) => (i * i * seed + 7 * i + Math.floor(i / side) * seed) % 1009 - 504,
  );
}

/** What y of self_test_matrix must be: A B by columns. */
function expectedFragments(side: number, a: readonly number[], b: readonly number[]): number[] {
  return Array.from({ length: side * side }, (_, at) => {
    const [j, i] = [Math.floor(at / side), at % side];
    let sum = 0;
    for (let k = 0; k < side; k++) sum += a[side * i + k] * b[side * j + k];
    return sum;
  });
}

/** Throws where a device has no fragments of the kind that kernels use, or one position of theirs is wrong. */
export async function fragmentTest(gpu: Gpu): Promise<void> {
  if (!gpu.features.has(MATRIX_UNITS)) throw new Error("it shows none");
  if (!gpu.features.has("shader-f16")) throw new Error("it has no f16 arithmetic");
  const side = fragmentSide(gpu.features);
  if (side === 0) throw new Error("it has none of 16 x 16 or 8 x 8 f16 with sums in f32");
  if (!sharesOut(side, gpu.subgroupSize)) throw new Error("its subgroups are of other widths");
  const [a, b] = [fragmentOf(side, 31), fragmentOf(side, 17)];
  const [left, right] = await Promise.all(
    [a, b].map((values) => upload(gpu, Uint16Array.from(values, f16Bits))),
  );
  const y = empty(gpu, 4 * side * side);
  const launch = {
    constants: { WORKGROUP: gpu.subgroupSize },
    buffers: [left, right, y],
    workgroups: 1,
  };
  await run(gpu, kernelFor("self_test_matrix", gpu.features), launch);
  expect("a product of fragments", [...await download(gpu, y)], expectedFragments(side, a, b));
  for (const buffer of [left, right, y]) buffer.destroy();
}
