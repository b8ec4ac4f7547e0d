/**
 * The kernels by name, put together from whole WGSL files: a kernel's own file and its parts. A part
 * that comes in several variants defines the same functions in each; the device's features decide.
 *
 * @module
 */

import attention from "../kernels/attention.wgsl" with { type: "text" };
import attentionQuads from "../kernels/attention_quads.wgsl" with { type: "text" };
import attentionTile from "../kernels/attention_tile.wgsl" with { type: "text" };
import byteTokens from "../kernels/byte_tokens.wgsl" with { type: "text" };
import denseMatmul from "../kernels/dense_matmul.wgsl" with { type: "text" };
import denseMatmulBroadcast from "../kernels/dense_matmul_broadcast.wgsl" with { type: "text" };
import denseMatmulMatrix from "../kernels/dense_matmul_matrix.wgsl" with { type: "text" };
import denseMatmulStrips from "../kernels/dense_matmul_strips.wgsl" with { type: "text" };
import denseMatvec from "../kernels/dense_matvec.wgsl" with { type: "text" };
import dequantise from "../kernels/dequantise.wgsl" with { type: "text" };
import embed from "../kernels/embed.wgsl" with { type: "text" };
import embedPacked from "../kernels/embed_packed.wgsl" with { type: "text" };
import gramKernel from "../kernels/gram.wgsl" with { type: "text" };
import halveTokens from "../kernels/halve_tokens.wgsl" with { type: "text" };
import joinParts from "../kernels/join.wgsl" with { type: "text" };
import matmul from "../kernels/matmul.wgsl" with { type: "text" };
import matmulBroadcast from "../kernels/matmul_broadcast.wgsl" with { type: "text" };
import matmulMatrix from "../kernels/matmul_matrix.wgsl" with { type: "text" };
import matmulStrips from "../kernels/matmul_strips.wgsl" with { type: "text" };
import matvec from "../kernels/matvec.wgsl" with { type: "text" };
import matvecBytes from "../kernels/matvec_bytes.wgsl" with { type: "text" };
import matvecFast from "../kernels/matvec_fast.wgsl" with { type: "text" };
import rmsNorm from "../kernels/rms_norm.wgsl" with { type: "text" };
import rotate from "../kernels/rotate.wgsl" with { type: "text" };
import selfTest from "../kernels/self_test.wgsl" with { type: "text" };
import selfTestBytes from "../kernels/self_test_bytes.wgsl" with { type: "text" };
import selfTestLanes from "../kernels/self_test_lanes.wgsl" with { type: "text" };
import selfTestMatrix from "../kernels/self_test_matrix.wgsl" with { type: "text" };
import selfTestHalf from "../kernels/self_test_half.wgsl" with { type: "text" };
import siluMul from "../kernels/silu_mul.wgsl" with { type: "text" };
import tokenLoss from "../kernels/token_loss.wgsl" with { type: "text" };
import top from "../kernels/top.wgsl" with { type: "text" };
import widenCache from "../kernels/widen_cache.wgsl" with { type: "text" };
import broadcast from "../kernels/parts/broadcast_portable.wgsl" with { type: "text" };
import byteTable from "../kernels/parts/byte_table_portable.wgsl" with { type: "text" };
import cache from "../kernels/parts/cache_portable.wgsl" with { type: "text" };
import columns from "../kernels/parts/columns_portable.wgsl" with { type: "text" };
import dense from "../kernels/parts/dense_portable.wgsl" with { type: "text" };
import fold from "../kernels/parts/fold_portable.wgsl" with { type: "text" };
import foldSubgroup from "../kernels/parts/fold_subgroup.wgsl" with { type: "text" };
import fragmentEight from "../kernels/parts/fragment_eight.wgsl" with { type: "text" };
import fragmentSixteen from "../kernels/parts/fragment_sixteen.wgsl" with { type: "text" };
import fragments from "../kernels/parts/fragments_matrix.wgsl" with { type: "text" };
import halfTable from "../kernels/parts/half_table_f16.wgsl" with { type: "text" };
import place from "../kernels/parts/place_portable.wgsl" with { type: "text" };
import reduce from "../kernels/parts/reduce_portable.wgsl" with { type: "text" };
import reduceSubgroup from "../kernels/parts/reduce_subgroup.wgsl" with { type: "text" };
import rows from "../kernels/parts/rows_portable.wgsl" with { type: "text" };
import levelsOctet from "../kernels/parts/levels_octet.wgsl" with { type: "text" };
import levels from "../kernels/parts/levels_portable.wgsl" with { type: "text" };
import lines from "../kernels/parts/lines_portable.wgsl" with { type: "text" };
import strips from "../kernels/parts/strips_subgroup.wgsl" with { type: "text" };
import swaps from "../kernels/parts/swaps_subgroup.wgsl" with { type: "text" };
import table from "../kernels/parts/table_portable.wgsl" with { type: "text" };
import tile from "../kernels/parts/tile_portable.wgsl" with { type: "text" };
import weights from "../kernels/parts/weights_portable.wgsl" with { type: "text" };
import { joinKernel, type Kernel } from "./launch.ts";

/**
 * Variants of a part: `portable` runs everywhere, `subgroup` and `f16` where the device can, `octet` on
 * CPUs whose subgroups are of eight lanes, `matrix` on devices with matrix units that were asked for,
 * `sixteen` and `eight` where those take fragments of so many rows and columns.
 */
export type Variant = "portable" | "subgroup" | "f16" | "octet" | "matrix" | "sixteen" | "eight";

/** WebGPU feature that a variant needs, or a trait that device.ts or arithmetic.ts adds to them. */
const FEATURES: Record<Variant, string | null> = {
  portable: null,
  subgroup: "subgroups",
  f16: "shader-f16",
  octet: "octets",
  matrix: "fragments",
  sixteen: "fragments of 16",
  eight: "fragments of 8",
};

/** Text of each part's variants, the most wanted first. */
const PARTS: Record<string, Partial<Record<Variant, string>>> = {
  weights: { portable: weights },
  table: { portable: table },
  levels: { octet: levelsOctet, portable: levels },
  half_table: { f16: halfTable },
  byte_table: { portable: byteTable },
  dense: { portable: dense },
  reduce: { subgroup: reduceSubgroup, portable: reduce },
  fold: { subgroup: foldSubgroup, portable: fold },
  lines: { portable: lines },
  columns: { portable: columns },
  rows: { portable: rows },
  cache: { portable: cache },
  place: { portable: place },
  tile: { portable: tile },
  broadcast: { portable: broadcast },
  fragment: { sixteen: fragmentSixteen, eight: fragmentEight },
  fragments: { matrix: fragments },
  strips: { subgroup: strips },
  swaps: { subgroup: swaps },
};

/** Text and parts of each kernel. */
const KERNELS = {
  matvec: { text: matvec, parts: ["weights", "table", "fold", "lines", "rows", "columns"] },
  matvec_fast: {
    text: matvecFast,
    parts: ["weights", "half_table", "fold", "lines", "rows", "columns"],
  },
  matvec_bytes: {
    text: matvecBytes,
    parts: ["weights", "byte_table", "fold", "lines", "rows", "columns"],
  },
  byte_tokens: { text: byteTokens, parts: [] },
  halve_tokens: { text: halveTokens, parts: [] },
  join: { text: joinParts, parts: [] },
  matmul: { text: matmul, parts: ["weights", "table", "place", "tile"] },
  matmul_broadcast: { text: matmulBroadcast, parts: ["weights", "table", "place", "broadcast"] },
  matmul_matrix: {
    text: matmulMatrix,
    parts: ["weights", "half_table", "fragment", "place", "fragments"],
  },
  matmul_strips: { text: matmulStrips, parts: ["weights", "levels", "strips"] },
  dense_matmul_broadcast: { text: denseMatmulBroadcast, parts: ["dense", "place", "broadcast"] },
  dense_matmul_matrix: {
    text: denseMatmulMatrix,
    parts: ["dense", "fragment", "place", "fragments"],
  },
  dense_matmul_strips: { text: denseMatmulStrips, parts: ["dense", "strips"] },
  dequantise: { text: dequantise, parts: ["weights", "table"] },
  dense_matvec: { text: denseMatvec, parts: ["dense", "fold", "lines"] },
  dense_matmul: { text: denseMatmul, parts: ["dense", "place", "tile"] },
  self_test: { text: selfTest, parts: ["weights", "table"] },
  self_test_matrix: { text: selfTestMatrix, parts: ["fragment"] },
  self_test_lanes: { text: selfTestLanes, parts: [] },
  self_test_half: { text: selfTestHalf, parts: [] },
  self_test_bytes: { text: selfTestBytes, parts: [] },
  embed: { text: embed, parts: ["dense"] },
  embed_packed: { text: embedPacked, parts: ["weights", "table"] },
  rms_norm: { text: rmsNorm, parts: ["reduce"] },
  rotate: { text: rotate, parts: ["reduce"] },
  attention: { text: attention, parts: ["cache"] },
  attention_tile: { text: attentionTile, parts: ["cache"] },
  attention_quads: { text: attentionQuads, parts: ["swaps"] },
  widen_cache: { text: widenCache, parts: ["cache"] },
  silu_mul: { text: siluMul, parts: [] },
  gram: { text: gramKernel, parts: [] },
  token_loss: { text: tokenLoss, parts: ["reduce"] },
  top: { text: top, parts: [] },
};

/** Name of a kernel, that of its file. */
export type KernelName = keyof typeof KERNELS;

/** All kernels. */
export const kernelNames = Object.keys(KERNELS) as KernelName[];

const joined = new Map<string, Kernel>();

/** The kernel for a device with these features: of each part the best variant that it can run. */
export function kernelFor(name: KernelName, features: ReadonlySet<string>): Kernel {
  const chosen = KERNELS[name].parts.map((part) =>
    variantsOf(part).find((variant) => runsOn(variant, features))!
  );
  return join(name, chosen);
}

/** The text of all kernels and parts. */
export function kernelText(): string {
  const parts = Object.values(PARTS).flatMap((variants) => Object.values(variants));
  return [...Object.values(KERNELS).map(({ text }) => text), ...parts].join("\n");
}

/** Every combination of a kernel's parts that a device with these features can run. */
export function kernelCombinations(name: KernelName, features: ReadonlySet<string>): Kernel[] {
  let combinations: Variant[][] = [[]];
  for (const part of KERNELS[name].parts) {
    const variants = variantsOf(part).filter((variant) => runsOn(variant, features));
    combinations = combinations.flatMap((chosen) =>
      variants.map((variant) => [...chosen, variant])
    );
  }
  return combinations.map((chosen) => join(name, chosen));
}

function variantsOf(part: string): Variant[] {
  return Object.keys(PARTS[part]) as Variant[];
}

function runsOn(variant: Variant, features: ReadonlySet<string>): boolean {
  const feature = FEATURES[variant];
  return feature === null || features.has(feature);
}

/** Joins a kernel with the chosen variant of each of its parts. */
function join(name: KernelName, variants: Variant[]): Kernel {
  const key = `${name} ${variants.join(" ")}`;
  const { text, parts } = KERNELS[name];
  const files = parts.map((part, i) => PARTS[part][variants[i]]!);
  const kernel = joined.get(key) ?? joinKernel(name, [...files, text]);
  joined.set(key, kernel);
  return kernel;
}
