/** Claims about lib/prepared_product.ts on each device. */
import assert from "node:assert/strict";
import { download, empty, submit, upload } from "../lib/launch.ts";
import * as linear from "../lib/linear.ts";
import { prepareProduct, uploadTokens } from "../lib/prepared_product.ts";
import { kindOf } from "../lib/tiling.ts";
import { gpuTest } from "./gpu_devices.ts";
import { denseWeights, tokens, weights } from "./linear_cases.ts";

gpuTest(
  "a prepared product gives the bits of the product itself, as often as it runs",
  async (gpu, device) => {
    const q = weights(33, 1000, "nf4-asym", 128);
    const loaded = await linear.load(device, q);
    for (const batch of [1, 2, 17]) {
      const x = tokens(batch, q.cols);
      const kind = kindOf(batch);
      const wanted = kind === "matvec"
        ? await linear.matvec(device, q, x)
        : await linear.matmul(device, q, x, batch);
      const buffers = {
        tokens: batch,
        x: await uploadTokens(device, x, batch, q.cols),
        y: empty(gpu, 4 * batch * q.rows),
      };
      const { dispatches, free } = await prepareProduct(device, kind, loaded, buffers);
      for (let run = 0; run < 2; run++) {
        await submit(gpu, dispatches);
        assert.deepEqual(await download(gpu, buffers.y), wanted);
      }
      free();
    }
    loaded.free();
  },
);

gpuTest("a prepared product adds its bias, also with dense weights", async (gpu, device) => {
  const w = denseWeights(9, 40, "F16");
  const [x, bias] = [tokens(1, w.cols), Float32Array.from({ length: 9 }, (_, row) => row - 4)];
  const loaded = await linear.load(device, w);
  const y = empty(gpu, 4 * w.rows);
  const buffers = {
    tokens: 1,
    x: await uploadTokens(device, x, 1, w.cols),
    y,
    bias: await upload(gpu, bias),
  };
  const { dispatches } = await prepareProduct(device, "matvec", loaded, buffers);
  await submit(gpu, dispatches);
  assert.deepEqual(await download(gpu, y), await linear.denseMatvec(device, w, x, { bias }));
});
