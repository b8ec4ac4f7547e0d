import assert from "node:assert/strict";
import { findFold, selfTest } from "../lib/self_test.ts";
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

gpuTest("findFold() tells subgroups whose lanes lie side by side from others", async (gpu) => {
  const found = async (from: string, to: string, least = gpu.subgroupSize) => {
    const own = { ...miscompiling(gpu, from, to), foldSize: 1 };
    await findFold(own, least);
    return own.foldSize;
  };
  const size = gpu.features.has("subgroups") ? Math.max(1, gpu.subgroupSize) : 1;
  assert.equal(await found("y[lane] =", "y[lane] ="), size);
  assert.equal(await found("y[lane] =", "y[lane] =", size / 2), Math.max(1, size / 2));
  assert.equal(await found("y[lane] =", "y[lane] =", 0), 1);
  assert.equal(await found("y[lane] =", "y[lane ^ 1u] ="), 1);
  assert.equal(await found("Xor(lane, 2u)", "Xor(lane, 1u)"), 1);
});
