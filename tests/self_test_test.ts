import assert from "node:assert/strict";
import { findOrder, ORDERED, selfTest } from "../lib/self_test.ts";
import { gpuTest } from "./gpu_devices.ts";
import { miscompiling } from "./miscompiling.ts";

gpuTest("selfTest() passes on a device that is fine, more than once", async (gpu) => {
  await selfTest(gpu);
  await selfTest(gpu);
});

gpuTest("selfTest() finds out whether subnormal f16 survive", async (gpu) => {
  gpu.f16Subnormals = false;
  await selfTest(gpu);
  const keeps = gpu.f16Subnormals;
  const flushing = miscompiling(gpu, "y[3u * row + 2u] = scale.y", "y[3u * row + 2u] = 0.0");
  await selfTest(flushing).catch(() => {});
  assert.deepEqual([keeps, flushing.f16Subnormals], [true, false]);
});

gpuTest("selfTest() refuses a device that computes otherwise", async (gpu) => {
  const faults = [
    ["(sums[0] + sums[1] + sums[2] + sums[3])", "0.0"],
    ["sums[2] + sums[3]", "sums[2] + sums[2]"],
    ["0x8e008e00u", "0x8c008e00u"],
    ["0x8c008c00u", "0x84008c00u"],
    ["bitcast<vec4i>(level) < vec4i(0)", "bitcast<vec4i>(level) > vec4i(0)"],
    ["2u * BITS * k, 2u * BITS)", "2u * BITS * k, 2u * BITS - 1u)"],
    ["codebook.factor.y", "1.0"],
  ];
  for (const [from, to] of faults) {
    await assert.rejects(selfTest(miscompiling(gpu, from, to)), / row \d must be \[/, from);
  }
});

gpuTest("findOrder() tells subgroups that are dealt lanes in order from others", async (gpu) => {
  const found = async (from: string, to: string) => {
    const own = { ...miscompiling(gpu, from, to), features: new Set(gpu.features) };
    await findOrder(own);
    return own.features.has(ORDERED);
  };
  const known = gpu.features.has("subgroups") && gpu.subgroupSize > 0;
  assert.equal(await found("y[lane] =", "y[lane] ="), known);
  assert.equal(await found("y[lane] =", "y[lane ^ 1u] ="), false);
  assert.equal(await found("y[lane] =", "y[255u - lane] ="), false);
});
