import assert from "node:assert/strict";
import { createRecorder, type GpuState } from "../lib/gpu_ops.ts";
import { prepareAll, stepOf } from "../lib/product.ts";
import { allocate, download, empty, submit, upload, write } from "../lib/launch.ts";
import * as reference from "../lib/linear_reference.ts";
import { readModelConfig } from "../lib/model_config.ts";
import { siluMul, tokenLoss, top } from "../lib/pointwise_reference.ts";
import { load, UNIFORM } from "../lib/resident.ts";
import type { Device } from "../lib/device.ts";
import { gates } from "../lib/tiling.ts";
import { gpuTest } from "./gpu_devices.ts";
import { asGpu, denseWeights, weights, within } from "./linear_cases.ts";
import { CONFIGS } from "./made_models.ts";
import { fill, normal } from "./random.ts";

/** A state without a cache, for operations that need none. */
async function stateOf(device: Device): Promise<GpuState> {
  const gpu = device.gpu!;
  const config = readModelConfig({ ...CONFIGS.llama, intermediate_size: 20 });
  const unused = await allocate(gpu, 16);
  const step = await upload(gpu, stepOf(1), UNIFORM);
  return { device, config, caches: [], kvF16: true, rotations: unused, ids: unused, step, unused };
}

gpuTest(
  "gated products of one token are silu(gate) * up, in one launch where a kernel gates",
  async (gpu, device) => {
    for (const on of [device, asGpu(device)]) {
      const state = await stateOf(on);
      for (const matrix of [weights(40, 48, "nf4-asym", 32), denseWeights(40, 48, "BF16")]) {
        const { slices, free } = await load(on, matrix);
        const recorder = createRecorder(state, 1);
        const x = recorder.scratch("x", 48);
        const values = fill(48, normal(1));
        await write(gpu, x.buffer, 0, values);
        const y = recorder.ops.gatedLinear({ rows: 40, cols: 48, slices, bias: null }, x);
        assert.equal(recorder.record.length, gates(on, slices[0]) ? 1 : 2);
        assert.ok(on.software || gates(on, slices[0]));
        await submit(gpu, await prepareAll(gpu, recorder.record));
        const both = "codes" in matrix
          ? reference.matvec(matrix, values)
          : reference.denseMatvec(matrix, values);
        const bounds = new Float64Array(20).fill(1e-4);
        within(await download(gpu, y.buffer, 80), siluMul(both, 20), bounds);
        recorder.free();
        free();
      }
    }
  },
);

gpuTest("addLinear() adds, for one token and for more", async (gpu, device) => {
  const state = await stateOf(device);
  const q = weights(40, 48, "fp4-sym", 32);
  const { slices, free } = await load(device, q);
  for (const capacity of [1, 3]) {
    await write(gpu, state.step, 0, stepOf(capacity));
    const recorder = createRecorder(state, capacity);
    const x = recorder.scratch("x", 48);
    const into = recorder.scratch("into", 40, { stride: 40 });
    const values = fill(48 * capacity, normal(2));
    for (let token = 0; token < capacity; token++) {
      await write(
        gpu,
        x.buffer,
        4 * x.stride * token,
        values.subarray(48 * token, 48 * token + 48),
      );
    }
    await write(gpu, into.buffer, 0, new Float32Array(40 * capacity).fill(1));
    recorder.ops.addLinear({ rows: 40, cols: 48, slices, bias: null }, x, into);
    await submit(gpu, await prepareAll(gpu, recorder.record));
    const wanted = reference.matmul(q, values, capacity).map((value) => value + 1);
    const got = await download(gpu, into.buffer, 160 * capacity);
    within(got, wanted, new Float64Array(wanted.length).fill(1e-4));
    recorder.free();
  }
  free();
});

gpuTest("top finds the largest logits wherever they are, equal ones by id", async (gpu) => {
  const logits = fill(1000, normal(3));
  for (const at of [0, 17, 500, 999]) logits[at] = 9;
  const buffers = [await upload(gpu, logits), empty(gpu, 64)];
  const constants = { VOCAB: 1000, K: 8, WORKGROUP: 16 };
  const dispatches = await prepareAll(gpu, [{
    name: "top",
    launch: { constants, buffers, workgroups: 1 },
  }]);
  await submit(gpu, dispatches);
  const words = new Uint32Array((await download(gpu, buffers[1])).buffer);
  assert.deepEqual([...words.filter((_, i) => i % 2 === 0)], [...top(logits, 8)]);
});

gpuTest("token_loss stands logits of any size", async (gpu, device) => {
  const state = await stateOf(device);
  await write(gpu, state.step, 0, stepOf(3));
  const logits = fill(3 * 500, normal(4)).map((value, i) =>
    value * [1, 30, 1000][Math.floor(i / 500)]
  );
  const targets = Uint32Array.of(3, 499, 0);
  const loss = empty(gpu, 12);
  const buffers = [await upload(gpu, logits), await upload(gpu, targets), loss, state.step];
  const constants = { VOCAB: 500, WORKGROUP: 16 };
  await submit(
    gpu,
    await prepareAll(gpu, [{
      name: "token_loss",
      launch: { constants, buffers, workgroups: 3 },
    }]),
  );
  const wanted = tokenLoss(logits, targets);
  within(await download(gpu, loss), wanted, Float64Array.from(wanted, (v) => 1e-5 * (1 + v)));
});
