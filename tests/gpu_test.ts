import assert from "node:assert/strict";
import { test } from "node:test";
import { attempt, closeGpu, firstLine, type Gpu, guarded, refusal } from "../lib/gpu.ts";
import { download, empty, joinKernel, run, upload } from "../lib/launch.ts";
import { gpuTest, openTarget, present } from "./gpu_devices.ts";

const ONE = joinKernel("one", [`
  @group(0) @binding(0) var<storage, read_write> y: array<f32>;
  @compute @workgroup_size(1) fn main() { y[0] = 1; }
`]);

/** What WebGPU reports, or a binding throws: a buffer of a usage that there is not. */
const faulty = (gpu: Gpu) => gpu.device.createBuffer({ size: 4, usage: 0xffff_0000 });

test("a refusal is one line, whatever the cause has", () => {
  assert.equal(firstLine("\n a\nb"), "a");
  assert.equal(refusal("run", new Error("no\n - because")).message, "Cannot run: no");
});

gpuTest("guarded() gives the result, or rejects with what went wrong", async (gpu) => {
  assert.equal(await guarded(gpu, "count", () => 3), 3);
  await assert.rejects(guarded(gpu, "do it", () => faulty(gpu)), /^Error: Cannot do it: .+$/);
  await assert.rejects(
    guarded(gpu, "do it", () => {
      throw new Error("no");
    }),
    { message: "Cannot do it: no" },
  );
});

gpuTest("guarded() callers at the same time see their own errors alone", async (gpu) => {
  const results = await Promise.allSettled([
    guarded(gpu, "do a", () => 1),
    guarded(gpu, "do b", () => faulty(gpu)),
    guarded(gpu, "do c", () => 3),
  ]);
  assert.deepEqual(results.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
});

gpuTest("an attempt() that fails is told at once or by the next download, once", async (gpu) => {
  const y = await upload(gpu, Float32Array.of(3));
  const failing = async () => {
    attempt(gpu, "do it", () => faulty(gpu));
    await download(gpu, y);
  };
  await assert.rejects(failing, /^Error: Cannot do it: .+$/);
  assert.deepEqual([...await download(gpu, y)], [3]);
});

gpuTest("an error outside every scope is thrown by the next download, once", async (gpu) => {
  const y = await upload(gpu, Float32Array.of(3));
  gpu.device.createShaderModule({ code: "nonsense" });
  await assert.rejects(download(gpu, y), /^Error: The GPU reported: .+$/);
  assert.deepEqual([...await download(gpu, y)], [3]);
});

for (const { name } of present) {
  test(`everything rejects once the device is lost, on ${name}`, async () => {
    const gpu = (await openTarget(name)).gpu!;
    const y = await upload(gpu, Float32Array.of(1));
    gpu.device.destroy();
    await assert.rejects(download(gpu, y), /device is gone/);
    await assert.rejects(upload(gpu, Float32Array.of(1)), /device is gone/);
    await assert.rejects(
      run(gpu, ONE, { constants: {}, buffers: [y], workgroups: 1 }),
      /device is gone/,
    );
    assert.throws(() => empty(gpu, 4), /device is gone/);
  });

  test(`a device lost while a result is awaited rejects it, on ${name}`, async () => {
    const gpu = (await openTarget(name)).gpu!;
    const pending = download(gpu, await upload(gpu, new Float32Array(1 << 20)));
    await Promise.resolve();
    gpu.device.destroy();
    await assert.rejects(pending, /device is gone/);
  });

  test(`a device lost at any moment gives the right answer or none, on ${name}`, async () => {
    for (let turns = 0; turns < 24; turns += 3) {
      const gpu = (await openTarget(name)).gpu!;
      const y = empty(gpu, 4);
      const result = run(gpu, ONE, { constants: {}, buffers: [y], workgroups: 1 })
        .then(() => download(gpu, y));
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      closeGpu(gpu);
      const settled = await result.then((values) => [...values], (error: Error) => error.message);
      if (typeof settled !== "string") assert.deepEqual(settled, [1]);
      else assert.equal(settled, "The device is closed");
    }
  });
}
