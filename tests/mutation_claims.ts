/**
 * What must hold of kernels on a device, for mutations.ts: products of packed and dense weights, and whole
 * small networks against the oracle.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Device } from "../lib/device.ts";
import { loadModel } from "../lib/llama.ts";
import { tokenLoss, top } from "../lib/pointwise_reference.ts";
import { oracleLogits } from "./llama_oracle.ts";
import { inFolder } from "./made_checkpoints.ts";
import { CONFIGS, madeWeights, writeModel } from "./made_models.ts";
import { fill, normal } from "./random.ts";
import * as linear from "../lib/linear.ts";
import { findFold } from "../lib/self_test.ts";
import * as reference from "../lib/linear_reference.ts";
import {
  asBytes,
  asFast,
  asGpu,
  asNarrow,
  bytesAgree,
  denseAgrees,
  denseWeights,
  dequantiseAgrees,
  fractionalZeros,
  gramAgrees,
  matmulAgrees,
  matvecAgrees,
  tokens,
  weights,
  within,
} from "./linear_cases.ts";

/** Something that must hold on a device. */
export type Claim = (device: Device) => Promise<void>;

export const plain = (device: Device): Device => {
  return { ...device, gpu: { ...device.gpu!, features: new Set<string>() } };
};
export const matvec = (name: string, batch = 1): Claim => (device) =>
  matvecAgrees(plain(device), weights(5, 93, name, 16), { batch });
/** By the table, less a zero-point that is no whole number. */
export const fractional: Claim = (device) =>
  matvecAgrees(plain(device), fractionalZeros(5, 93, "int4-asym"));
export const longMatvec: Claim = (device) =>
  matvecAgrees(plain(device), weights(4, 8192, "fp4-asym", 256));
export const matmul = (name: string, batch = 3): Claim => (device) =>
  matmulAgrees(plain(device), weights(33, 93, name, 16), batch);
export const longMatmul: Claim = (device) =>
  matmulAgrees(plain(device), weights(4, 1100, "fp4-sym", 256), 3);
/** Tiles of a GPU whose columns are shared out. */
export const tilesInParts: Claim = (device) =>
  matmulAgrees(asGpu(device), weights(5, 1100, "fp4-asym", 64), 17, { biased: true });
/** Few tokens on a GPU: short ends of rows and columns, a step of columns that is not whole. */
export const broadcast = (batch = 3): Claim => (device) =>
  matmulAgrees(asGpu(device), weights(70, 300, "fp4-asym", 16), batch);
/** More steps than sums go up in, and their parts. */
export const longBroadcast: Claim = (device) =>
  matmulAgrees(asGpu(device), weights(4, 17000, "fp4-sym", 256), 3, { biased: true });
export const denseBroadcast: Claim = (device) =>
  denseAgrees(asGpu(device), denseWeights(5, 93, "F32"), 3);
export const strips = (name: string, batch = 3): Claim => (device) =>
  matmulAgrees(device, weights(33, 93, name, 16), batch);
/** Of one token, or two. */
export const fewInStrips = (batch: number): Claim => (device) =>
  matvecAgrees(device, weights(33, 93, "fp4-asym", 16), { batch });
export const longStrips: Claim = (device) =>
  matmulAgrees(device, weights(4, 4500, "fp4-sym", 256), 3);
export const biasedStrips: Claim = (device) =>
  matmulAgrees(device, weights(4, 4500, "fp4-sym", 256), 3, { biased: true });
/** On subgroups narrower than eight, where levels are arithmetic. */
export const narrowStrips = (name: string, batch = 3): Claim => (device) =>
  strips(name, batch)(asNarrow(device));
export const dequantise: Claim = (device) =>
  dequantiseAgrees(device, weights(5, 93, "fp4-asym", 16));
export const dequantiseWhole: Claim = (device) =>
  dequantiseAgrees(device, weights(5, 93, "int4-asym", 16));
/** More than all lanes make at once. */
export const longDequantise: Claim = (device) =>
  dequantiseAgrees(device, weights(70, 93, "fp4-asym", 16));
export const coded =
  (name: string, scales: string, product: typeof matvecAgrees = matvecAgrees): Claim => (device) =>
    product(device, weights(5, 93, name, 16, scales));
export const three = (as: (device: Device) => Device): typeof matvecAgrees => (device, q) =>
  matmulAgrees(as(device), q, 3);
export const dense = (dtype: "F32" | "F16" | "BF16", batch = 1, cols = 93): Claim => (device) =>
  denseAgrees(device, denseWeights(5, cols, dtype), batch);
/** One token where no lanes can hand sums round. */
export const denseMatvec = (cols = 93): Claim => (device) =>
  denseAgrees(plain(device), denseWeights(5, cols, "F16"), 1);
export const flushing: Claim = (device) =>
  matvec("fp4-asym")({ ...device, gpu: { ...device.gpu!, f16Subnormals: false } });
export const treeReduction: Claim = (device) => network("llama")(plain(device));
/** As on a GPU: activations staged, four lines a workgroup, more lanes than units. */
export const staged = (name: string, batch = 1): Claim => (device) =>
  matvecAgrees(asGpu(device), weights(40, 2200, name, 64), { batch });
/** On a GPU whose subgroups fold sums. */
export const folded: Claim = async (device) => {
  const own = asGpu(device);
  await findFold(own.gpu!, device.gpu!.subgroupSize);
  assert.ok(own.gpu!.foldSize > 1);
  await matvecAgrees(own, weights(40, 2200, "fp4-sym", 64));
};
/** Rows so few and long that they are cut into parts. */
export const inParts: Claim = (device) =>
  matvecAgrees(asGpu(device), weights(3, 8200, "fp4-sym", 256), { biased: true });

/** Rows in slices, with a bias: each slice writes and adds at its own rows. */
export const slices: Claim = async (device) => {
  const q = weights(33, 93, "fp4-asym", 32);
  const bias = fill(33, normal(1));
  const x = tokens(2, 93);
  const y = await linear.matvec(device, await linear.load(device, q, 20), x, { bias });
  within(y, reference.matvec(q, x, { bias }), reference.matvecBound(q, x).map((b) => b + 1e-6));
};

/** Second moments, of more tokens than a run of 16 and more columns than a tile. */
export const moments: Claim = (device) => gramAgrees(device, [19, 40, 64]);

/** A whole small network against the oracle: its own kernels are broken one by one. */
export const plainSlices: Claim = (device) => slices(plain(device));
export const network =
  (name: string, act: "all" | "steps" | "top" | "losses" = "all"): Claim => (device) =>
    inFolder(async (_, folder) => {
      const config = { ...CONFIGS[name], num_hidden_layers: 1 };
      const tensors = madeWeights(config, 9);
      await writeModel(folder, config, tensors);
      const logits = oracleLogits(config, tensors, IDS);
      const model = await loadModel(device, folder, { kv: "f32" });
      if (act === "top") {
        const wanted = top(Float32Array.from(logits.at(-1)!), 4);
        assert.deepEqual([...(await model.top(IDS, 4)).ids], [...wanted]);
      } else if (act === "steps") {
        for (const [i, id] of IDS.entries()) {
          const wanted = Float32Array.from(logits[i]);
          within(await model.logits([id]), wanted, Float64Array.from(wanted, () => 1e-3));
        }
      } else {
        const flat = Float32Array.from(logits.flat());
        const wanted = act === "all" ? flat : tokenLoss(flat, [...IDS.slice(1), 0]).subarray(0, -1);
        const got = act === "all" ? await model.allLogits(IDS) : await model.losses(IDS);
        within(got, wanted, Float64Array.from(wanted, () => 1e-3));
      }
    });
/** The same as a GPU runs it. */
export const asGpuNetwork = (name: string): Claim => (device) => network(name)(asGpu(device));
/** Heads of two lanes on a GPU. */
export const plainSteps: Claim = (device) => network("llama", "steps")(plain(device));
export const HEADS_OF_20 = "qwen3, q and k norms";
const IDS = [1, 7, 100, 23, 23, 54, 0, 99, 12, 40, 3, 77, 8, 61, 5, 2, 90, 31, 44];

export const fast = (name: string): Claim => (device) =>
  matvecAgrees(asFast(device), weights(5, 93, name, 16), { batch: 2 });
/** Tokens of unlike sizes, which are scaled each by its own. */
export const fastUneven: Claim = (device) => {
  const x = tokens(2, 93).map((value, i) => i < 93 ? value : 100 * value);
  return matvecAgrees(asFast(device), weights(5, 93, "fp4-sym", 16), { batch: 2, x });
};
/** Activations of a byte that lose nothing, in groups of 16 columns. */
export const bytes = (name: string): Claim => (device) =>
  bytesAgree(asBytes(device), name, [5, 93, 16]);
/** The same as a GPU does it. */
export const bytesGpu: Claim = (device) =>
  bytesAgree(asBytes(asGpu(device)), "fp4-asym", [40, 2200, 64]);
export const fastGpu: Claim = (device) =>
  matvecAgrees(asFast(asGpu(device)), weights(40, 2200, "fp4-sym", 64), { batch: 2 });
