import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint } from "../lib/checkpoint.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { readModelConfig } from "../lib/model_config.ts";
import { readWeights, type WeightKeeper } from "../lib/model.ts";
import { CONFIGS, madeWeights, writeModel } from "./made_models.ts";

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "afpq-model-"));
});
after(() => rm(folder, { recursive: true }));

const LLAMA = CONFIGS.llama;

/** Names and sizes of what is read, in order. */
function lister(): { keeper: WeightKeeper<string, string>; seen: string[] } {
  const seen: string[] = [];
  const note = (text: string) => {
    seen.push(text);
    return Promise.resolve(text);
  };
  return {
    seen,
    keeper: {
      async matrix(sources, bias) {
        const names = [];
        for (const source of sources) names.push((await source.read()).name);
        return note(`${names.join(" + ")}${bias ? " + bias" : ""}`);
      },
      vector: (values) => note(`[${values.length}]`),
    },
  };
}

async function read(change: (weights: ReturnType<typeof madeWeights>) => void, config = LLAMA) {
  const weights = madeWeights(config, 1);
  change(weights);
  const path = join(folder, String(Math.random()).slice(2));
  await writeModel(path, config, weights, "BF16");
  const { keeper, seen } = lister();
  await readWeights(await openCheckpoint(path), readModelConfig(config), keeper);
  return seen;
}

test("weights are read in the order of use, what is multiplied together in one", async () => {
  const seen = await read(() => {});
  assert.deepEqual(seen.slice(0, 4), [
    "model.embed_tokens.weight",
    "[48]",
    ["q", "k", "v"].map((p) => `model.layers.0.self_attn.${p}_proj.weight`).join(" + "),
    "model.layers.0.self_attn.o_proj.weight",
  ]);
  assert.equal(seen.at(-1), "lm_head.weight");
});

test("biases are read where a family has them", async () => {
  const seen = await read(() => {}, CONFIGS["qwen2, biases"]);
  assert.ok(seen.some((text) => text.endsWith("v_proj.weight + bias")));
});

test("a missing tensor, a wrong shape and a NaN are refused by name", async () => {
  const name = "model.layers.1.mlp.down_proj.weight";
  await assert.rejects(
    read((weights) => weights.delete(name)),
    /tensor "model.layers.1.mlp.down_proj.weight" \[48, 80\] must be there: got none/,
  );
  const transposed = (weights: ReturnType<typeof madeWeights>) =>
    weights.set(name, { ...weights.get(name)!, shape: [80, 48] });
  await assert.rejects(read(transposed), /config.json says it must be \[48, 80\]: got \[80, 48\]/);
  await assert.rejects(
    read((weights) => weights.get(name)!.values[83] = NaN),
    /weights must be finite: got NaN or infinity at \[1, 3\]/,
  );
});

test("a head that is packed already is not quantised again, but refused", async () => {
  const heads: [config: Record<string, unknown>, name: string][] = [
    [LLAMA, "lm_head.weight"],
    [{ ...LLAMA, tie_word_embeddings: true }, "model.embed_tokens.weight"],
  ];
  for (const [config, name] of heads) {
    const path = join(folder, name);
    await writeModel(path, config, madeWeights(config, 1), "BF16");
    await quantizeCheckpoint(path, `${path}-q`, { format: "fp3-sym", include: [name] });
    const { keeper, seen } = lister();
    const packed = await openCheckpoint(`${path}-q`);
    await assert.rejects(
      readWeights(packed, readModelConfig(config), keeper, { head: "nf4-sym" }),
      {
        name: "RangeError",
        message:
          `Cannot quantise "${name}" in nf4-sym as a head must not be packed already: got fp3-sym`,
      },
    );
    assert.equal(seen.length, 0);
    await readWeights(packed, readModelConfig(config), keeper);
    assert.ok(seen.includes(name));
  }
});
