/**
 * Whether a device computes, and right: a small dequantise-matmul whose answer is known exactly.
 *
 *   y = W x. W [5, 32] packed, x [32] whole numbers -> y [5, 3], the others scales
 *
 * Every code stands in every row, once for each way of decoding (e2m1, e2m0, table); the scales are
 * small, large, at the edges of f16, and subnormal. Levels and x are such that each product and sum
 * is exact in f32 in any order, so the comparison is too. A backend that computes nothing, or another
 * one's garbage, cannot pass.
 *
 * Devices may take subnormal f16 for 0, which the decode of e2m1 must know: that is found out here.
 * What goes beyond f32 has tests of its own: arithmetic.ts.
 *
 * @module
 */

import { powerOfTwo } from "./float16.ts";
import { type Format, format } from "./format.ts";
import { kernelFor } from "./kernels.ts";
import { download, empty, type Gpu, run, upload } from "./launch.ts";
import { packRow } from "./pack.ts";

/** One format for each decode, two scales each. */
const FORMATS = ["fp4-asym", "fp3-asym", "custom:-8,-7,-6,-5,-4,-3,-2,-1,0,1,2,3,4,5,6,7-asym"];
const COLS = 32;
const X = Float32Array.from({ length: COLS }, (_, c) => c % 11 - 4);
/** A row's two scales: f16 bits and values; the last row's are subnormal. */
const SCALES: readonly (readonly [number, number, number, number])[] = [
  [0x4000, 0x3800, 2, 0.5],
  [0x3c00, 0x4700, 1, 7],
  [0x0400, 0x0800, 2 ** -14, 2 ** -13],
  [0x7bff, 0x7800, 65504, 2 ** 15],
  [0x0001, 0x03ff, 2 ** -24, 1023 * 2 ** -24],
];
const ROWS = SCALES.length;
const F16_MIN_NORMAL = 2 ** -14;
const UNIFORM = 0x0040;

/**
 * Tests a device, and sets `gpu.f16Subnormals` on the way.
 *
 * @throws {Error} where an answer is wrong, or there is none.
 */
export async function selfTest(gpu: Gpu): Promise<void> {
  gpu.f16Subnormals = true;
  const [, , last] = rowsOf(await multiply(gpu, format(FORMATS[0]))).at(-1)!;
  gpu.f16Subnormals = last !== 0;
  for (const name of FORMATS) {
    const rows = rowsOf(await multiply(gpu, format(name)));
    rows.forEach((row, r) => expect(`${name} row ${r}`, row, expected(format(name), r, gpu)));
  }
}

/** y [5, 3]: each row's product and its two scales, as the device sees them. */
async function multiply(gpu: Gpu, format: Format): Promise<Float32Array> {
  const words = new Uint32Array(ROWS * format.bits);
  for (let r = 0; r < ROWS; r++) packRow(format, rowCodes(format, r), words, r * format.bits);
  const [codes, scales, codebook, x] = await Promise.all([
    upload(gpu, words),
    upload(gpu, Uint16Array.from(SCALES.flatMap(([first, second]) => [first, second]))),
    upload(gpu, codebookOf(format), UNIFORM),
    upload(gpu, X),
  ]);
  const y = empty(gpu, 4 * 3 * ROWS);
  await run(gpu, kernelFor("self_test", gpu.features), {
    constants: constantsOf(gpu, format),
    buffers: [codes, codes, scales, codebook, x, y],
    workgroups: ROWS,
  });
  const got = await download(gpu, y);
  for (const buffer of [codes, scales, codebook, x, y]) buffer.destroy();
  return got;
}

/** Lanes that are looked at: as many as the largest workgroup of kernels/parts/lines has. */
const LANES = 256;

/** How many lanes kernels/parts/fold can add up. */
const FOLDS = [64, 32, 16, 8, 4, 2];

/** Finds out whether the lanes of a subgroup, `least` or more, lie side by side: then they fold their sums. */
export async function findFold(gpu: Gpu, least: number): Promise<void> {
  const WIDTH = FOLDS.find((width) => width <= least);
  if (!gpu.features.has("subgroups") || WIDTH === undefined) return;
  const y = empty(gpu, 4 * LANES);
  const launch = { constants: { WORKGROUP: LANES, WIDTH }, buffers: [y], workgroups: 1 };
  await run(gpu, kernelFor("self_test_lanes", gpu.features), launch);
  const got = new Uint32Array((await download(gpu, y)).buffer);
  y.destroy();
  const wanted = expectedLanes();
  if (got.every((met, lane) => met === wanted[lane])) gpu.foldSize = WIDTH;
}

/** What y [256] of self_test_lanes is where each lane meets those beside it. */
function expectedLanes(): number[] {
  return Array.from({ length: LANES }, (_, lane) => lane + 1);
}

function constantsOf(gpu: Gpu, { bits, decode }: Format): Record<string, number> {
  return {
    ROWS,
    COLS,
    GROUP: COLS,
    BITS: bits,
    DECODE: { e2m1: 0, e2m0: 1, table: 2 }[decode],
    SCALING: 1,
    F16_SUBNORMALS: gpu.f16Subnormals ? 1 : 0,
  };
}

/** Levels [16] and the factor of the bit decodes, 2^14, as two. */
function codebookOf({ levels, decode }: Format): Float32Array {
  const book = new Float32Array(20).fill(1);
  book.set(levels);
  if (decode !== "table") book.fill(powerOfTwo(7), 16);
  return book;
}

/** All codes in a row, from the r-th on. */
function rowCodes({ bits }: Format, r: number): Uint8Array {
  return Uint8Array.from({ length: COLS }, (_, c) => (c + r) % 2 ** bits);
}

/** What row r of y must be: subnormal scales as 0 where the device takes them so. */
function expected(format: Format, r: number, gpu: Gpu): number[] {
  const [, , ...exact] = SCALES[r];
  const [first, second] = exact.map((scale) => {
    return scale < F16_MIN_NORMAL && !gpu.f16Subnormals ? 0 : scale;
  });
  let sum = 0;
  rowCodes(format, r).forEach((code, c) => {
    const level = format.levels[code];
    sum += X[c] * level * (level < 0 ? second : first);
  });
  return [sum, first, second];
}

function rowsOf(y: Float32Array): number[][] {
  return Array.from({ length: ROWS }, (_, r) => [...y.subarray(3 * r, 3 * r + 3)]);
}

export function expect(what: string, got: number[], wanted: number[]): void {
  if (wanted.every((value, i) => got[i] === value)) return;
  throw new Error(`${what} must be [${wanted.join(", ")}]: got [${got.join(", ")}]`);
}
