/** Claims about lib/calibrate.ts; whole runs are in quantize_calibrated_test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { blocksOnCpu } from "../lib/block_inputs.ts";
import type { BlockStore, StoredBlock } from "../lib/block_store.ts";
import { calibrate, type MatrixReport, weightsOf } from "../lib/calibrate.ts";
import { openCheckpoint } from "../lib/checkpoint.ts";
import { type FloatDtype, narrow, widen } from "../lib/float16.ts";
import { format as formatOf } from "../lib/format.ts";
import { gptq } from "../lib/gptq.ts";
import { openModelConfig } from "../lib/model_config.ts";
import { embed } from "../lib/pointwise_reference.ts";
import { quantize } from "../lib/quantizer.ts";
import { refine } from "../lib/refinement.ts";
import { writeSafetensors } from "../lib/safetensors_writer.ts";
import { inFolder } from "./made_checkpoints.ts";
import { madeLayer } from "./made_layers.ts";
import { CONFIGS, madeWeights, writeModel } from "./made_models.ts";

/** A store in memory. */
function memory(): BlockStore<MatrixReport[]> & { blocks: StoredBlock<MatrixReport[]>[] } {
  const blocks: StoredBlock<MatrixReport[]>[] = [];
  return {
    path: "memory",
    blocks,
    count: () => blocks.length,
    read: (index) => Promise.resolve(blocks[index]),
    release: () => Promise.resolve(),
    add: (block) => Promise.resolve(void blocks.push(block)),
    remove: () => Promise.resolve(),
  };
}

const format = formatOf("nf3-asym");
const windows = [Uint32Array.of(1, 5, 9, 13, 50, 100), Uint32Array.of(7, 7, 3, 2, 1, 0)];

for (
  const family of ["llama", "qwen2, biases", "phi3, fused tensors, half a head turned, a window"]
) {
  test(`each linear is quantised from what the quantised ones before it give: ${family}`, () =>
    inFolder(async (at) => {
      const tensors = madeWeights(CONFIGS[family], 1);
      await writeModel(at("m"), CONFIGS[family], tensors);
      const checkpoint = await openCheckpoint(at("m"));
      const config = await openModelConfig(checkpoint);
      const store = memory(), start = blocksOnCpu(config, 6);
      const chosen = new Set([...tensors.keys()].filter((name) => /_proj\.weight$/.test(name)));
      const how = { format, group: 16 as const, method: "gptq" as const };
      await calibrate({ ...how, checkpoint, config, chosen, windows, start, store });
      assert.equal(store.blocks.length, 2);

      // the first block by hand
      const { layer } = madeLayer(CONFIGS[family], "F32");
      const { values, shape: [rows, cols] } = tensors.get("model.embed_tokens.weight")!;
      const bytes = new Uint8Array(values.slice().buffer);
      const table = { name: "", rows, cols, dtype: "F32" as const, bytes };
      const block = await start(layer, windows.map((ids) => embed(table, ids)));
      for (const linear of ["qkv", "output", "gateUp", "down"] as const) {
        const { h } = await block.moments(linear);
        const parts = layer[linear].parts.map((part) => {
          const { name, rows, cols } = part;
          const options = { name, rows, cols, format, group: 16 as const, clip: true };
          const w = weightsOf(part);
          const matrix = refine(gptq(w, h, options).matrix, w, h);
          assert.deepEqual(store.blocks[0].matrices.get(name), matrix);
          return matrix;
        });
        layer[linear] = { ...layer[linear], parts };
      }
    }));
}

test("rtn through calibration is quantize()", () =>
  inFolder(async (at) => {
    const tensors = madeWeights(CONFIGS["llama"], 1);
    await writeModel(at("m"), CONFIGS["llama"], tensors);
    const checkpoint = await openCheckpoint(at("m"));
    const config = await openModelConfig(checkpoint);
    const store = memory(), name = "model.layers.1.mlp.down_proj.weight";
    await calibrate({
      ...{ checkpoint, config, windows, store, start: blocksOnCpu(config, 6) },
      ...{ format, group: 32, method: "rtn", chosen: new Set([name]) },
    });
    const [rows, cols] = tensors.get(name)!.shape;
    const q = quantize(tensors.get(name)!.values, { rows, cols, format, group: 32, name });
    assert.deepEqual(store.blocks[1].matrices.get(name), q);
    const [report] = store.blocks[1].report;
    assert.equal(report.outputError, report.plainOutputError);
  }));

test("AWQ leaves gains and biases as their own dtypes hold them, also where those differ", () =>
  inFolder(async (at) => {
    const family = CONFIGS["qwen2, biases"], tensors = madeWeights(family, 1);
    await writeModel(at("m"), family, new Map(), "F32");
    const sources = [...tensors].map(([name, { shape, values }]) => {
      const dtype = name.includes("input_layernorm") ? "F32" as const : "BF16" as const;
      return { name, dtype, shape, bytes: () => narrow(values, dtype) };
    });
    await writeSafetensors(at("m", "model.safetensors"), sources, {});
    const checkpoint = await openCheckpoint(at("m")), config = await openModelConfig(checkpoint);
    const store = memory(), start = blocksOnCpu(config, 6);
    const chosen = new Set([...tensors.keys()].filter((name) => /_proj\.weight$/.test(name)));
    const how = { format, group: 16 as const, method: "awq" as const };
    await calibrate({ ...how, checkpoint, config, chosen, windows, start, store });
    const vectors = store.blocks.flatMap((block) => [...block.vectors]);
    assert.ok(vectors.some(([name]) => name.includes("post_attention_layernorm")));
    assert.ok(vectors.some(([name]) => name.includes(".bias")));
    for (const [name, values] of vectors) {
      const dtype = checkpoint.tensors.get(name)!.dtype as FloatDtype;
      assert.deepEqual(widen(narrow(values, dtype), dtype), values, name);
    }
  }));
