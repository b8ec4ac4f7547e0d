import assert from "node:assert/strict";
import { fragmentTest, halfTest, hasFragments } from "../lib/arithmetic.ts";
import { gpuTest } from "./gpu_devices.ts";
import { test } from "node:test";
import { miscompiling } from "./miscompiling.ts";

gpuTest(
  "halfTest() passes where f16 arithmetic is right, and refuses it elsewhere",
  async (gpu) => {
    const refused = await halfTest(gpu).then(() => null, (error: Error) => error.message);
    if (refused) return assert.match(refused, /^it has no f16 arithmetic$|parsing error/);
    const flushing = miscompiling(gpu, "bitcast<vec2h>(t[lane])", "bitcast<vec2h>(t[lane] & ~1u)");
    await assert.rejects(halfTest(flushing), /^Error: f16 arithmetic must be \[.*\]: got \[.*\]$/);
  },
);

gpuTest("fragmentTest() refuses a device that has no fragments", async (gpu) => {
  const features = new Set([
    ...gpu.features,
    "shader-f16",
    "chromium-experimental-subgroup-matrix",
  ]);
  const without = new Set([...features].filter((feature) => !feature.startsWith("chromium")));
  await assert.rejects(fragmentTest({ ...gpu, features: without }), /^Error: it shows none$/);
  const odd = { ...gpu, features, subgroupSize: 16 };
  await assert.rejects(fragmentTest(odd), /^Error: its subgroups are of other widths$/);
  const other = { ...gpu, features, subgroupSize: 32 };
  if (features.has("fragments offered")) return;
  await assert.rejects(fragmentTest(other), /^Error: it has none of 16 x 16 f16 with sums in f32$/);
});

test("an adapter has the fragments that it lists, of the one kind that kernels use", () => {
  const own = { M: 16, N: 16, K: 16, componentType: "f16", resultComponentType: "f32" };
  const adapterOf = (subgroupMatrixConfigs?: unknown[]) =>
    ({ info: { subgroupMatrixConfigs } }) as unknown as GPUAdapter;
  assert.ok(hasFragments(adapterOf([{ ...own, N: 8 }, own])));
  for (const wrong of [{ N: 8 }, { resultComponentType: "f16" }, { componentType: "u8" }]) {
    assert.ok(!hasFragments(adapterOf([{ ...own, ...wrong }])));
  }
  assert.ok(!hasFragments(adapterOf()));
});
