import assert from "node:assert/strict";
import {
  byteTest,
  fragmentTest,
  halfTest,
  hasBytes,
  MATRIX_UNITS,
  mayBeFast,
} from "../lib/arithmetic.ts";
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

gpuTest(
  "byteTest() passes where packed products are right, and refuses others",
  async (gpu) => {
    const refused = await byteTest(gpu).then(() => null, (error: Error) => error.message);
    if (refused) return assert.match(refused, /dot4I8Packed|pack4xI8/);
    const clamping = miscompiling(gpu, "pack4xI8(t[lane])", "pack4xI8(max(t[lane], vec4i(-127)))");
    await assert.rejects(
      byteTest(clamping),
      /^Error: products of bytes must be \[.*\]: got \[.*\]$/,
    );
  },
);

gpuTest("bytes are multiplied where the GPU is a known one and passes, beside f16", async (gpu) => {
  const can = await byteTest(gpu).then(() => true, () => false);
  const offering = { ...gpu, features: new Set([...gpu.features, "bytes offered"]) };
  const [known, other] = [{ ...offering }, { ...gpu, features: new Set(gpu.features) }];
  const halves = await mayBeFast(other);
  assert.equal(await mayBeFast(known), can || halves);
  assert.deepEqual([known, other].map(({ features }) => features.has("bytes")), [can, false]);
  const lines: string[] = [];
  const wrong = miscompiling(offering, "+ 1000", "+ 1001");
  await mayBeFast(wrong, (line) => void lines.push(line));
  assert.ok(!wrong.features.has("bytes"));
  assert.match(lines[0], /^No activations of a byte \(.*\): f16 or exact products it is$/);
});

test("the GPUs that multiply bytes are those whose machine code was read", () => {
  const on = (vendor: string, architecture: string) =>
    hasBytes({ info: { vendor, architecture } } as unknown as GPUAdapter);
  assert.ok(on("amd", "rdna-3") && on("amd", "rdna-2"));
  assert.ok(!on("amd", "gcn-5") && !on("amd", "") && !on("nvidia", "hopper"));
});

gpuTest("fragmentTest() refuses a device that has no fragments of its kinds", async (gpu) => {
  const refused = (traits: string[], subgroupSize: number, reason: RegExp) => {
    const own = [...gpu.features].filter((feature) => !/^chromium|^fragments/.test(feature));
    const features = new Set([...own, "shader-f16", ...traits]);
    return assert.rejects(fragmentTest({ ...gpu, features, subgroupSize }), reason);
  };
  await refused([], 32, /^Error: it shows none$/);
  const none = /^Error: it has none of 16 x 16 or 8 x 8 f16 with sums in f32$/;
  await refused([MATRIX_UNITS], 32, none);
  for (const [side, subgroupSize] of [[16, 16], [8, 64]]) {
    const traits = [MATRIX_UNITS, `fragments of ${side}`];
    await refused(traits, subgroupSize, /^Error: its subgroups are of other widths$/);
  }
});
