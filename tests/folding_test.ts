/** Claims about lib/folding.ts, on small networks of each family. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { blocksOnCpu, type HostLayer } from "../lib/block_inputs.ts";
import { narrow } from "../lib/float16.ts";
import { foldScales, sharedMagnitudes } from "../lib/folding.ts";
import { linearNames } from "../lib/ops.ts";
import { madeLayer } from "./made_layers.ts";
import { CONFIGS } from "./made_models.ts";
import { fill, normal, uniform } from "./random.ts";

const windows = [fill(9 * 48, normal(1)), fill(9 * 48, normal(2))];

async function outputs(layer: HostLayer, config: ReturnType<typeof madeLayer>["config"]) {
  return (await (await blocksOnCpu(config, 9)({ ...layer }, windows)).finish()).map((x) => [...x]);
}

for (const family of Object.keys(CONFIGS)) {
  for (const dtype of ["F32", "BF16"] as const) {
    test(`scales folded into a layer leave its output to 1e-5: ${family}, ${dtype}`, async () => {
      const { layer, config } = madeLayer(CONFIGS[family], dtype);
      const before = (await outputs(layer, config)).flat();
      const folded = { ...layer };
      for (const [i, linear] of linearNames.entries()) {
        const { cols } = layer[linear].parts[0];
        const wanted = Float64Array.from(fill(cols, uniform(i)), (u) => 0.25 + 4 * u);
        const scales = sharedMagnitudes(wanted, linear, config);
        const used = foldScales(folded, linear, scales, { config, dtype });
        // bf16 keeps 8 bits, so a scale moves by 2^-8 at most
        used.forEach((scale, j) => assert.ok(Math.abs(scale / scales[j] - 1) < 2 ** -7));
      }
      const after = (await outputs(folded, config)).flat();
      const size = Math.max(...before.map(Math.abs));
      const worst = Math.max(...after.map((y, i) => Math.abs(y - before[i])));
      assert.ok(worst < 1e-5 * size, `off by ${worst} of ${size}`);
      assert.notDeepEqual(folded.down.parts, layer.down.parts);
    });
  }
}

test("gains and biases stay what their dtype can hold", () => {
  const { layer, config } = madeLayer(CONFIGS["llama, all biases"], "BF16");
  const folded = { ...layer };
  for (const linear of linearNames) {
    const scales = new Float64Array(layer[linear].parts[0].cols).fill(1.37);
    foldScales(folded, linear, scales, { config, dtype: "BF16" });
  }
  for (const vector of [folded.attentionNorm, folded.mlpNorm, folded.qkv.bias!]) {
    const kept = narrow(vector, "BF16");
    const words = Uint32Array.from(new Uint16Array(kept.buffer), (half) => half << 16);
    assert.deepEqual(new Float32Array(words.buffer), vector);
  }
});

test("a gain of 0 keeps its column", () => {
  const { layer, config } = madeLayer(CONFIGS["llama"], "F32");
  layer.attentionNorm[3] = 0;
  const scales = new Float64Array(48).fill(2);
  assert.equal(foldScales({ ...layer }, "qkv", scales, { config, dtype: "F32" })[3], 1);
});

test("query heads that share a head of v share their magnitudes", () => {
  const { config } = madeLayer(CONFIGS["llama"], "F32"); // heads 4, of v 2, 12 dimensions each
  const magnitudes = Float64Array.from({ length: 48 }, (_, j) => j < 12 ? 3 : j < 24 ? 4 : 1);
  const shared = sharedMagnitudes(magnitudes, "output", config);
  assert.deepEqual([shared[0], shared[12], shared[24]], [Math.sqrt(12.5), Math.sqrt(12.5), 1]);
});
