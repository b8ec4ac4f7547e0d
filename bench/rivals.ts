/**
 * Two kernels that we did not want, written as they are described in public, to have somebody to be
 * faster than in the same run: see the headers of constant_table.wgsl and naive_two_scale.wgsl.
 *
 * They take 4-bit floats of one token, codes in the order of columns.
 *
 * @module
 */
import type { Device } from "../lib/device.ts";
import type { Format } from "../lib/format.ts";
import { joinKernel, prepare, upload } from "../lib/launch.ts";
import { matmulBound } from "../lib/linear_reference.ts";
import type { QuantizedMatrix } from "../lib/pack.ts";
import { type Buffers, copyBuffer, type Placed } from "./buffers.ts";
import constantTable from "./constant_table.wgsl" with { type: "text" };
import naiveTwoScale from "./naive_two_scale.wgsl" with { type: "text" };
import { natural } from "./made_matrices.ts";

/** Names of the rivals, those of their files. */
export const rivals = ["constant_table", "naive_two_scale"] as const;
export type RivalName = typeof rivals[number];

const KERNELS = {
  constant_table: joinKernel("constant_table", [constantTable]),
  naive_two_scale: joinKernel("naive_two_scale", [naiveTwoScale]),
};
const ROWS_A_WORKGROUP = { constant_table: 64, naive_two_scale: 4 };

/** Whether a rival has this format: nf4 and fp4, and where it is about two scales, with two. */
export function rivalHas(name: RivalName, { name: format, scaling }: Format): boolean {
  return /^(nf4|fp4)-/.test(format) && (name === "constant_table" || scaling === "two");
}

/** Products of a rival with copies of a matrix. */
export async function placeRival(
  { gpu }: Device,
  name: RivalName,
  q: QuantizedMatrix,
  { x, y }: Buffers,
  copies: number,
): Promise<Placed> {
  const first = [await upload(gpu!, natural(q)), await upload(gpu!, q.scales)];
  const levels = await upload(gpu!, q.format.levels);
  const weights = [first];
  while (weights.length < copies) {
    weights.push(await Promise.all(first.map((buffer) => copyBuffer(gpu!, buffer))));
  }
  const GROUP = q.group === "row" ? 2 ** 31 : q.group;
  const own: Record<string, number> = name === "constant_table"
    ? { TWO: q.format.scaling === "two" ? 1 : 0, FP4: q.format.decode === "e2m1" ? 1 : 0 }
    : {};
  const products = await Promise.all(weights.map(async (buffers) => {
    const all = [...buffers, ...(name === "naive_two_scale" ? [levels] : []), x, y];
    return [
      await prepare(gpu!, KERNELS[name], {
        constants: { ROWS: q.rows, COLS: q.cols, GROUP, ...own },
        buffers: all,
        workgroups: Math.ceil(q.rows / ROWS_A_WORKGROUP[name]),
      }),
    ];
  }));
  return { products, free: () => [...weights.flat(), levels].forEach((one) => one.destroy()) };
}

/** How far a rival may be from the reference: what plain sums in f32 may lose. */
export function rivalBound(name: RivalName, q: QuantizedMatrix, x: Float32Array): Float64Array {
  const roundings = name === "constant_table" ? q.cols + 4 : q.cols / 32 + 16;
  return matmulBound(q, x, 1).map((bound) => bound / 16 * roundings);
}
