import assert from "node:assert/strict";
import { loadModel } from "../lib/llama.ts";
import { openSafetensors } from "../lib/safetensors.ts";
import type { Device } from "../lib/device.ts";
import { gpuTest } from "./gpu_devices.ts";
import { asGpu, overriding, withBindings } from "./linear_cases.ts";

const TINY = new URL("../examples/tiny-llama", import.meta.url).pathname;
const GOLDEN = new URL("golden/tiny-llama.safetensors", import.meta.url).pathname;

async function golden(name: string): Promise<ArrayBuffer> {
  const { tensors } = await openSafetensors(GOLDEN);
  return (await tensors.find((tensor) => tensor.name === name)!.bytes()).buffer;
}

for (const [how, as] of [["as it is", (device: Device) => device], ["as a GPU", asGpu]] as const) {
  gpuTest(
    `logits and losses of tiny-llama are the golden ones, over several chunks, device ${how}`,
    (_, device) => expectGolden(as(device)),
  );
}

async function expectGolden(device: Device): Promise<void> {
  const model = await loadModel(device, TINY, { kv: "f32" });
  const vocab = model.config.vocab;
  for (const length of ["len1", "len17", "len256"]) {
    const ids = new Int32Array(await golden(`${length}.ids`));
    const positions = new Int32Array(await golden(`${length}.positions`));
    const wanted = new Float32Array(await golden(`${length}.logits`));
    const got = await model.allLogits(ids);
    positions.forEach((position, i) => {
      const row = wanted.subarray(i * vocab, (i + 1) * vocab);
      const bound = 2e-4 * row.reduce((top, logit) => Math.max(top, Math.abs(logit)), 0);
      const worst = row.reduce(
        (worst, logit, id) => Math.max(worst, Math.abs(logit - got[position * vocab + id])),
        0,
      );
      assert.ok(worst <= bound, `${length} position ${position}: ${worst}, bound ${bound}`);
    });
    if (ids.length === 1) continue;
    const nll = new Float32Array(await golden(`${length}.nll`));
    const losses = await model.losses(ids);
    nll.forEach((loss, i) => assert.ok(Math.abs(loss - losses[i]) < 1e-4, `${length} loss ${i}`));
  }
  model.close();
}

gpuTest("a context whose keys fit no binding is told how long it may be", async (_, device) => {
  const small = withBindings(device, 4 * 96 * 100);
  await assert.rejects(
    loadModel(small, TINY, { kv: "f32" }),
    /^RangeError: Cannot keep keys and values on this GPU, .* must be at most 75 tokens: got 256$/,
  );
});

gpuTest(
  "a model that is closed, or is not loaded to its end, leaves no buffer",
  async (gpu, device) => {
    const live = new Set<GPUBuffer>();
    const create = (descriptor: GPUBufferDescriptor) => {
      const buffer = gpu.device.createBuffer(descriptor);
      live.add(buffer);
      const destroy = buffer.destroy.bind(buffer);
      buffer.destroy = () => void (live.delete(buffer), destroy());
      return buffer;
    };
    const noting = overriding(gpu.device, "createBuffer", create);
    const noted = { ...device, gpu: { ...gpu, device: noting } };
    const model = await loadModel(noted, TINY);
    await model.top([1, 2, 3], 2);
    await model.losses([1, 2, 3]);
    assert.ok(live.size > 20);
    model.close();
    await new Promise((resolve) => setTimeout(resolve));
    assert.equal(live.size, 0);
    const stop = new AbortController();
    const onProgress = (done: number) => void (done >= 20 && stop.abort());
    await assert.rejects(loadModel(noted, TINY, { signal: stop.signal, onProgress }));
    assert.equal(live.size, 0);
  },
);
