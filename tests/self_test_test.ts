import assert from "node:assert/strict";
import type { Gpu } from "../lib/launch.ts";
import { halfTest, selfTest } from "../lib/self_test.ts";
import { gpuTest } from "./gpu_devices.ts";

/** The same device with a compiler that puts `to` for `from`. */
function miscompiling(gpu: Gpu, from: string, to: string): Gpu {
  const device = new Proxy(gpu.device, {
    get(target, key) {
      const value = target[key as keyof GPUDevice] as unknown;
      if (typeof value !== "function") return value;
      if (key !== "createShaderModule") return value.bind(target);
      return (descriptor: GPUShaderModuleDescriptor) => {
        assert.ok(descriptor.code.includes(from), `no "${from}" to miscompile`);
        return target.createShaderModule({ code: descriptor.code.replaceAll(from, to) });
      };
    },
  });
  return { ...gpu, device, pipelines: new Map() };
}

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

gpuTest(
  "halfTest() passes where f16 arithmetic is right, and refuses it elsewhere",
  async (gpu) => {
    const refused = await halfTest(gpu).then(() => null, (error: Error) => error.message);
    if (refused) return assert.match(refused, /^it has no f16 arithmetic$|parsing error/);
    const flushing = miscompiling(gpu, "bitcast<vec2h>(t[lane])", "bitcast<vec2h>(t[lane] & ~1u)");
    await assert.rejects(halfTest(flushing), /^Error: f16 arithmetic must be \[.*\]: got \[.*\]$/);
  },
);

gpuTest("selfTest() refuses a device that computes otherwise", async (gpu) => {
  const faults = [
    ["(sums[0] + sums[1] + sums[2] + sums[3])", "0.0"],
    ["sums[2] + sums[3]", "sums[2] + sums[2]"],
    ["0x8e008e00u", "0x8c008e00u"],
    ["0x8c008c00u", "0x84008c00u"],
    ["level >= vec4f(0.0)", "level < vec4f(0.0)"],
    ["2u * BITS * k, 2u * BITS)", "2u * BITS * k, 2u * BITS - 1u)"],
    ["codebook.factor.y", "1.0"],
  ];
  for (const [from, to] of faults) {
    await assert.rejects(selfTest(miscompiling(gpu, from, to)), / row \d must be \[/, from);
  }
});
