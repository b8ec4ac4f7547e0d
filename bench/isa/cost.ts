/**
 * A kernel's cost on a GPU, put together from what the driver says of it and from its inner loop.
 *
 *   weights a trip   bytes x 8 / bits of the loads of weights; a lane's own
 *   a product        weight x token: what one multiply-add of the mathematics is. Where lanes load the
 *                    same weights, the loads of activations tell: the smaller of the two counts. The
 *                    multiplies of a trip must be as many, or a note says that they are not
 *
 * @module
 */

import { told } from "../../lib/report.ts";
import { parseAssembly } from "./assembly.ts";
import type { Compiled, Spirv } from "./compile.ts";
import { type InnerLoop, innerLoop } from "./inner_loop.ts";

/** What is known of a kernel beforehand. */
export interface Kernel {
  readonly kernel: string;
  readonly gpu: string;
  readonly format?: string;
  readonly batches?: readonly number[];
  readonly constants: Readonly<Record<string, number>>;
  /** Buffers of weights, and bits of a weight, where names and constants do not tell. */
  readonly weights?: readonly string[];
  readonly bits?: number;
  /** Rows and tokens that a workgroup serves; without them a product is a weight. */
  readonly rows?: number;
  readonly tokens?: number;
}

/** What a kernel costs. */
export interface Cost {
  readonly kernel: string;
  readonly gpu: string;
  readonly format: string;
  readonly batches: readonly number[];
  readonly vgprs: number;
  readonly sgprs: number;
  readonly spills: number;
  readonly scratchBytes: number;
  readonly ldsBytes: number;
  readonly lanes: number;
  readonly wavesPerSimd: number;
  /** The driver's own estimate of cycles, the whole kernel, one wave alone and with the SIMD full. */
  readonly latency: number;
  readonly inverseThroughput: number;
  /** Of the inner loop, or null where nothing loads weights. */
  readonly loop: InnerLoop | null;
  /** Products (weight x token) of a lane in one trip; null where nothing tells. */
  readonly products: number | null;
  readonly notes: readonly string[];
}

const WEIGHTS = ["codes", "codes4", "weights"];

/** Puts a kernel's cost together. */
export function costOf(
  { assembly, lanes, statistics }: Compiled,
  spirv: Spirv,
  kernel: Kernel,
): Cost {
  const sets = new Set(spirv.bindings.map(({ at }) => at.split(":")[0]));
  const names = sets.size === 1 ? spirv.bindings.map(({ name }) => name) : [];
  const weights = kernel.weights ?? WEIGHTS;
  const loop = innerLoop(parseAssembly(assembly, names), new Set(weights));
  const { products, notes } = productsOf(loop, kernel, weights);
  return {
    kernel: kernel.kernel,
    gpu: kernel.gpu,
    format: kernel.format ?? "",
    batches: kernel.batches ?? [],
    vgprs: statistics["VGPRs"],
    sgprs: statistics["SGPRs"],
    spills: statistics["Spilled VGPRs"] + statistics["Spilled SGPRs"],
    scratchBytes: statistics["Scratch size"],
    ldsBytes: statistics["LDS size"],
    lanes,
    wavesPerSimd: wavesOf(kernel.gpu, lanes, statistics["Subgroups per SIMD"]),
    latency: statistics["Latency"],
    inverseThroughput: statistics["Inverse Throughput"],
    loop,
    products,
    notes,
  };
}

/** From RDNA on the driver counts in waves of 32 lanes, whatever the kernel's are. */
function wavesOf(gpu: string, lanes: number, told: number): number {
  return /^(vega|gfx9|polaris|raven|renoir)/.test(gpu) ? told : Math.floor(told * 32 / lanes);
}

/** Products of a lane in a trip, and what a reader should know of how they were found. */
function productsOf(
  loop: InnerLoop | null,
  { constants, bits = bitsOf(constants), rows, tokens = 1 }: Kernel,
  weights: readonly string[],
): { products: number | null; notes: string[] } {
  if (!loop) return { products: null, notes: ["loads no weights"] };
  const notes = loop.unknownTrips.map((label) => `trips of ${label} unknown: counted once`);
  if (loop.unrolled) notes.push("no loop: the whole kernel");
  for (const [label, trips] of Object.entries(loop.innerTrips)) notes.push(`${label} x ${trips}`);
  if (bits === undefined) return { products: null, notes: [...notes, "bits of a weight unknown"] };
  const bytes = weights.reduce((sum, name) => sum + (loop.bytes[name] ?? 0), 0);
  const byCodes = bytes * 8 / bits * tokens;
  const byTokens = rows && loop.bytes.x ? loop.bytes.x / 4 * rows : Infinity;
  if (byCodes > byTokens) notes.push(`weights loaded x ${told(byCodes / byTokens)}`);
  if (byTokens > byCodes && byTokens < Infinity) {
    notes.push(`x loaded x ${told(byTokens / byCodes)}`);
  }
  const products = Math.min(byCodes, byTokens);
  const { multiplies } = loop.counts;
  if (multiplies < products) {
    notes.push(`only ${multiplies} multiplies for ${told(products)} products`);
  }
  return { products, notes };
}

/** Bits of a weight, by the constants of the parts `weights` and `dense`. */
function bitsOf({ BITS, DTYPE }: Readonly<Record<string, number>>): number | undefined {
  return BITS ?? (DTYPE === undefined ? undefined : DTYPE === 0 ? 32 : 16);
}

/** A count of the inner loop for each product; null where nothing tells. */
export function perProduct({ products }: Cost, count?: number): number | null {
  return products && count !== undefined ? count / products : null;
}
