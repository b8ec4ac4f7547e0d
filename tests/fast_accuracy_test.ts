/** Claims about `--accuracy fast`: products of a token or two in f16 arithmetic. */
import assert from "node:assert/strict";
import { type Device, openDevice } from "../lib/device.ts";
import { download, empty, run, upload } from "../lib/launch.ts";
import { kernelFor } from "../lib/kernels.ts";
import { halveTokens } from "../lib/pointwise_reference.ts";
import { halfTest } from "../lib/arithmetic.ts";
import { present } from "./gpu_devices.ts";
import { asFast, asGpu, fastAgrees, matvecAgrees, tokens, weights } from "./linear_cases.ts";
import { fill, normal } from "./random.ts";
import { testUnless } from "./test_unless.ts";

/** On NVIDIA Dawn shows f16 to a fast device alone. */
const dawn = present.find(({ name, device }) => name === "webgpu" && !device!.software);
const fast = dawn ? [await openDevice({ binding: "webgpu", fast: true, tuned: false })] : [];

for (
  const [where, device] of [
    ...present.map(({ name, device }) => [name, device!] as const),
    ...fast.map((device) => ["a fast webgpu", device] as const),
  ]
) {
  const gpu = device.gpu!;
  const why = await halfTest(gpu).then(() => null, (error: Error) => error.message);
  const claim = (text: string, body: () => Promise<void>) =>
    testUnless(why, `${text}, on ${where}`, body);

  claim("products in f16 are within their own bound, and beyond that of f32", async () => {
    const asFastGpu = (device: Device) => asFast(asGpu(device));
    await fastAgrees(asFast(device), "fp4-asym", 1, 32);
    await fastAgrees(asFast(device), "fp3-asym", 2, 16);
    await fastAgrees(asFast(device), "nf4-asym", 2, "row");
    await fastAgrees(asFast(device), "int4-asym", 1, 64);
    await fastAgrees(asFast(device), "nf3-sym", 1, 32);
    await fastAgrees(asFast(device), "custom:-30,-1,0,0.5,1,2,9-asym", 1, 32);
    await fastAgrees(asFastGpu(device), "fp4-sym", 1, 128);
    await fastAgrees(asFastGpu(device), "nf4-asym", 2, 16);
  });

  claim("products in f16 take activations of any size, and none at all", async () => {
    const q = weights(8, 200, "fp4-asym", 64);
    for (const size of [0, 1e-35, 1e-20, 1e4, 1e30]) {
      const x = tokens(2, 200).map((value) => value * size);
      await matvecAgrees(asFast(device), q, { batch: 2, x });
    }
  });

  claim("halve_tokens scales each token by its own power of two and rounds to f16", async () => {
    for (const TARGET of [6, 15]) {
      const x = fill(3 * 64, normal(5)).map((value, i) =>
        value * [1e-3, 1, 5e6][Math.floor(i / 64)]
      );
      const [halves, factors] = [empty(gpu, 2 * 3 * 64), empty(gpu, 16)];
      await run(gpu, kernelFor("halve_tokens", gpu.features), {
        constants: { COLS: 64, BATCH: 3, TARGET },
        buffers: [await upload(gpu, x), halves, factors],
        workgroups: [2, 2], // folded
      });
      const bits = new Float16Array((await download(gpu, halves)).buffer);
      const got = await download(gpu, factors, 12);
      for (const token of [0, 1, 2]) {
        const wanted = halveTokens(x.subarray(64 * token, 64 * token + 64), TARGET);
        assert.deepEqual(
          Float32Array.from(bits.subarray(64 * token, 64 * token + 64)),
          wanted.halves,
        );
        assert.equal(got[token], wanted.factor);
        const largest = Math.max(...wanted.halves.map(Math.abs));
        assert.ok(largest >= 2 ** (TARGET - 1) && largest <= 2 ** TARGET);
      }
    }
  });
}

testUnless(null, "fast accuracy where there is no GPU is told, and exact", async () => {
  const lines: string[] = [];
  const log = (line: string) => void lines.push(line);
  const device = await openDevice({ binding: "cpu", accuracy: "fast", log });
  assert.equal(device.accuracy, "exact");
  assert.deepEqual(lines, ["No fast accuracy (it is no GPU): exact products it is"]);
});
