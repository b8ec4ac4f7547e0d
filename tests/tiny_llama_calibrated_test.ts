/** Claims about methods that see a text, on the shipped model, every layer of it. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { awqScales, magnitudesOf } from "../lib/awq.ts";
import { blocksOnCpu, type HostLayer } from "../lib/block_inputs.ts";
import { layerInF32, weightsOf } from "../lib/calibrate.ts";
import { openCheckpoint } from "../lib/checkpoint.ts";
import { openDevice } from "../lib/device.ts";
import { foldScales, sharedMagnitudes } from "../lib/folding.ts";
import { gptq } from "../lib/gptq.ts";
import { hostKeeper } from "../lib/llama_cpu.ts";
import { weightReader } from "../lib/model.ts";
import { openModelConfig } from "../lib/model_config.ts";
import { linearNames } from "../lib/ops.ts";
import { embed } from "../lib/pointwise_reference.ts";
import { quantizeCalibrated } from "../lib/quantize_calibrated.ts";
import { quantize } from "../lib/quantizer.ts";
import { refine } from "../lib/refinement.ts";
import { inFolder } from "./made_checkpoints.ts";
import { diagonalOf } from "./made_moments.ts";
import { noPackage } from "./made_tokenizers.ts";
import { repeated, testUnless } from "./test_unless.ts";

const folder = fileURLToPath(new URL("../examples/tiny-llama", import.meta.url));
const checkpoint = await openCheckpoint(folder);
const config = await openModelConfig(checkpoint);
const read = weightReader(checkpoint, config, hostKeeper);
const { parts: [table] } = await read.embedding();
const CONTEXT = 64;
/** Ids from all over the vocabulary: enough for moments that are not flat. */
const ids = Uint32Array.from({ length: CONTEXT }, (_, i) => i * i * 7 % config.vocab);
const start = blocksOnCpu(config, CONTEXT);

/** Calls `act` with each layer, in f32, and the hidden states that go into it. */
async function eachLayer(act: (layer: HostLayer, hidden: Float32Array[]) => Promise<void>) {
  let hidden: Float32Array[] = [embed(table, ids)];
  for (let at = 0; at < config.layers; at++) {
    const layer = layerInF32(await read.layer(at));
    await act(layer, hidden);
    hidden = await (await start(layer, hidden)).finish();
  }
}

test("folded into bf16 gains and rows, every layer's output is the same to 1e-5", () =>
  eachLayer(async (layer, hidden) => {
    const folded = { ...layer }, block = await start({ ...layer }, hidden);
    for (const linear of linearNames) {
      const { h, cols } = await block.moments(linear);
      const magnitudes = sharedMagnitudes(magnitudesOf(h, cols), linear, config);
      const matrices = layer[linear].parts.map(weightsOf);
      // three bits: the search then moves the scales of most linears
      const { scales } = awqScales(matrices, h, { cols, format: "int3-sym", magnitudes });
      foldScales(folded, linear, scales, { config, dtype: "BF16" });
    }
    assert.notDeepEqual(folded.down.parts, layer.down.parts);
    const [before] = await block.finish(), [after] = await (await start(folded, hidden)).finish();
    const size = before.reduce((most, y) => Math.max(most, Math.abs(y)), 0);
    const worst = after.reduce((most, y, i) => Math.max(most, Math.abs(y - before[i])), 0);
    assert.ok(worst < 1e-5 * size, `off by ${worst} of ${size}`);
  }));

test("with a diagonal H every matrix by GPTQ is plain rounding, bit for bit", () =>
  eachLayer(async (layer, hidden) => {
    const block = await start({ ...layer }, hidden);
    for (const linear of linearNames) {
      const { h, cols } = await block.moments(linear);
      const own = diagonalOf(Float64Array.from({ length: cols }, (_, j) => h[j * cols + j]));
      for (const part of layer[linear].parts) {
        const { rows, name } = part, few = Math.min(rows, 48); // rows do not know of each other
        const w = weightsOf(part).slice(0, few * cols);
        const shape = { rows: few, cols, name, group: 128 };
        for (const format of ["nf3-asym", "fp4-sym"]) {
          const plain = quantize(w, { ...shape, format });
          for (const actOrder of [false, true]) {
            const { matrix } = gptq(w, own, { ...shape, format, actOrder });
            assert.deepEqual(matrix, plain, name);
          }
          assert.deepEqual(refine(plain, w, own, { scales: false }), plain, name);
        }
      }
    }
    await block.finish();
  }));

for (const method of ["awq", "gptq"] as const) {
  testUnless(
    noPackage ?? repeated,
    `${method} loses less of the outputs than plain rounding in every matrix`,
    () =>
      inFolder(async (at) => {
        const text = await readFile(join(folder, "calibration.txt"), "utf8");
        const device = await openDevice({ binding: "cpu" });
        const { reports } = await quantizeCalibrated(folder, at("q"), {
          ...{ text, device, method, format: "nf3-asym", group: 128 },
          ...{ context: 128, windows: 8 },
        });
        device.close();
        assert.equal(reports.length, 42);
        for (const { name, outputError, plainOutputError } of reports) {
          const share = outputError / plainOutputError;
          assert.ok(share < (method === "gptq" ? 0.7 : 0.85), `${name}: ${share}`);
        }
      }),
    { timeout: 600_000 },
  );
}
