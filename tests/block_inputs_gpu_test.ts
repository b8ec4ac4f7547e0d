/** Claims about lib/block_inputs_gpu.ts and kernels/gram.wgsl, on the devices that are there. */
import assert from "node:assert/strict";
import { blocksOnCpu } from "../lib/block_inputs.ts";
import { blocksOnGpu } from "../lib/block_inputs_gpu.ts";
import { linearNames } from "../lib/ops.ts";
import { weightsOf } from "../lib/calibrate.ts";
import { quantize } from "../lib/quantizer.ts";
import { gpuTest } from "./gpu_devices.ts";
import { gramAgrees, withBindings } from "./linear_cases.ts";
import { madeLayer } from "./made_layers.ts";
import { CONFIGS } from "./made_models.ts";
import { fill, normal } from "./random.ts";

/** Three units of columns: a tile's loop over two is unrolled, and LLVM takes ten seconds for each. */
const WIDE = { hidden_size: 72, num_attention_heads: 6 };

gpuTest(
  "gram adds X^T X to H within its bound, at widths and runs that leave rests",
  async (_gpu, device) => {
    // one number; a tile and its edge; runs of 16 tokens and a rest; more than one tile
    for (const shape of [[1, 1, 1], [16, 32, 32], [19, 33, 64], [40, 100, 100]] as const) {
      await gramAgrees(device, shape);
    }
  },
);

for (const family of Object.keys(CONFIGS)) {
  gpuTest(
    `inputs of linears are those of the TypeScript backend: ${family}`,
    async (_gpu, device) => {
      const { layer, config } = madeLayer({ ...CONFIGS[family], ...WIDE }, "F32");
      const small = withBindings(device, 4 * 50 * 128); // H in runs of rows, nothing else
      const numbers = 9 * WIDE.hidden_size;
      const windows = [fill(numbers, normal(1)), fill(numbers, normal(2))];
      const [ours, theirs] = [{ ...layer }, { ...layer }];
      const [onGpu, onCpu] = [
        await blocksOnGpu(family === "llama" ? small : device, config, 9)(ours, windows),
        await blocksOnCpu(config, 9)(theirs, windows),
      ];
      const near = (a: ArrayLike<number>, b: ArrayLike<number>, what: string) => {
        const size = Array.from(b).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        const worst = Array.from(a).reduce(
          (most, value, i) => Math.max(most, Math.abs(value - b[i])),
          0,
        );
        assert.ok(worst < 1e-4 * size, `${what}: off by ${worst} of ${size}`); // f32 through a block
      };
      for (const linear of linearNames) {
        const [a, b] = [await onGpu.moments(linear), await onCpu.moments(linear)];
        assert.deepEqual([a.cols, a.tokens], [b.cols, b.tokens]);
        near(a.h, b.h, linear);
        near(a.largest, b.largest, linear);
        // from here on both see a quantised linear
        const parts = layer[linear].parts.map((part) => {
          return quantize(weightsOf(part), {
            rows: part.rows,
            cols: part.cols,
            format: "nf4-asym",
            group: 16,
          });
        });
        ours[linear] = theirs[linear] = { ...layer[linear], parts };
      }
      const [a, b] = [await onGpu.finish(), await onCpu.finish()];
      a.forEach((x, i) => near(x, b[i], "hidden"));
    },
  );
}

gpuTest("linears out of their order are refused", async (_gpu, device) => {
  const { layer, config } = madeLayer(CONFIGS["llama"], "F32");
  const block = await blocksOnGpu(device, config, 4)({ ...layer }, [fill(4 * 48, normal(1))]);
  await assert.rejects(block.moments("down"), /linears come in order: got down out of it/);
});
