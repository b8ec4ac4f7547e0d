import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Device, openDevice } from "../lib/device.ts";
import { type LanguageModel, loadModel, type LoadModelOptions } from "../lib/llama.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { gpuTest } from "./gpu_devices.ts";
import { oracleLogits } from "./llama_oracle.ts";
import { CONFIGS, madeWeights, writeModel } from "./made_models.ts";

const IDS = [1, 7, 100, 23, 23, 54, 0, 99, 12, 40, 3];
const cpu = await openDevice({ binding: "cpu" });
let folder = "";
const oracles = new Map<string, number[][]>();

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "afpq-llama-"));
  for (const [i, [name, config]] of Object.entries(CONFIGS).entries()) {
    const weights = madeWeights(config, i + 1);
    await writeModel(join(folder, name), config, weights);
    oracles.set(name, oracleLogits(config, weights, IDS));
  }
});
after(() => rm(folder, { recursive: true }));

async function withModel(
  device: Device,
  name: string,
  act: (model: LanguageModel) => Promise<void>,
  options: LoadModelOptions = {},
): Promise<void> {
  const model = await loadModel(device, join(folder, name), { kv: "f32", ...options });
  try {
    await act(model);
  } finally {
    model.close();
  }
}

/** Each logit within 2e-4 of the largest of its position. */
function close(got: Float32Array, wanted: number[][], share = 2e-4): void {
  const vocab = wanted[0].length;
  assert.equal(got.length, wanted.length * vocab);
  wanted.forEach((row, position) => {
    const bound = share * Math.max(...row.map(Math.abs));
    const worst = Math.max(...row.map((value, i) => Math.abs(value - got[position * vocab + i])));
    assert.ok(worst <= bound, `position ${position}: ${worst} is more than ${bound}`);
  });
}

for (const name of Object.keys(CONFIGS)) {
  test(`the TypeScript backend computes what the oracle does: ${name}`, () =>
    withModel(
      cpu,
      name,
      async (model) => close(await model.allLogits(IDS), oracles.get(name)!, 1e-5),
    ));

  gpuTest(
    `the device computes what the oracle does: ${name}`,
    (_, device) =>
      withModel(
        device,
        name,
        async (model) => close(await model.allLogits(IDS), oracles.get(name)!),
      ),
  );
}

gpuTest(
  "tokens one by one give what they give together",
  (_, device) =>
    withModel(device, "qwen3, q and k norms", async (model) => {
      const wanted = oracles.get("qwen3, q and k norms")!;
      for (const [i, id] of IDS.entries()) close(await model.logits([id]), [wanted[i]]);
      model.reset();
      close(await model.logits(IDS), [wanted.at(-1)!]);
    }),
);

gpuTest(
  "an f16 cache comes close",
  (_, device) =>
    withModel(device, "mistral, sliding window", async (model) => {
      close(await model.allLogits(IDS), oracles.get("mistral, sliding window")!, 5e-3);
    }, { kv: "f16" }),
);

gpuTest(
  "top() names the largest logits in order",
  (_, device) =>
    withModel(device, "llama", async (model) => {
      const wanted = oracles.get("llama")!.at(-1)!;
      const order = wanted.map((_, id) => id).sort((a, b) => wanted[b] - wanted[a]);
      const { ids, logits } = await model.top(IDS, 5);
      assert.deepEqual([...ids], order.slice(0, 5));
      logits.forEach((logit, i) => assert.ok(Math.abs(logit - wanted[ids[i]]) < 1e-4));
      model.reset();
      assert.deepEqual([...(await model.top(IDS, 1)).ids], order.slice(0, 1));
    }),
);

gpuTest(
  "losses() are -log p of each next token",
  (_, device) =>
    withModel(device, "llama, all biases", async (model) => {
      const losses = await model.losses(IDS);
      assert.equal(losses.length, IDS.length - 1);
      oracles.get("llama, all biases")!.slice(0, -1).forEach((row, i) => {
        const sum = row.reduce((sum, logit) => sum + Math.exp(logit), 0);
        assert.ok(Math.abs(losses[i] - (Math.log(sum) - row[IDS[i + 1]])) < 1e-4);
      });
    }),
);

gpuTest(
  "a quantised model gives on the device what its dequantised weights give",
  async (_, device) => {
    const out = join(folder, `packed-${device.binding}-${device.adapter.replace(/\W/g, "")}`);
    const name = "llama, tied, linear scaling";
    await quantizeCheckpoint(join(folder, name), out, {
      format: "nf4-asym",
      group: 32,
      force: true,
    });
    for (const head of [null, "fp4-asym"]) {
      const reference = await loadModel(cpu, out, { kv: "f32", head });
      const wanted = await reference.allLogits(IDS);
      const model = await loadModel(device, out, { kv: "f32", head });
      const rows = IDS.map((_, i) => [...wanted.subarray(101 * i, 101 * (i + 1))]);
      close(await model.allLogits(IDS), rows);
      model.reset();
      close(await model.logits([IDS[0]]), [rows[0]]); // one token: the fused kernels
      model.close();
    }
  },
);

gpuTest(
  "a token costs at most 9 dispatches a layer and 5, and reads what is stored",
  (_, device) =>
    withModel(device, "llama", async ({ stats, config }) => {
      assert.ok(stats.dispatchesPerToken <= 9 * config.layers + 5, `${stats.dispatchesPerToken}`);
      await Promise.resolve();
      const { dim, hidden, layers, vocab } = config;
      const perLayer = dim * (2 * dim + 2 * dim / 2 + 3 * hidden);
      assert.equal(stats.bytesPerToken, 4 * (layers * perLayer + vocab * dim));
    }),
);

test("ids outside the vocabulary and tokens beyond the context are refused", () =>
  withModel(cpu, "llama", async (model) => {
    await assert.rejects(model.logits([1, 101]), /ids must be below 101: got 101/);
    await assert.rejects(model.logits([]), /there must be one: got none/);
    await assert.rejects(
      model.logits(new Array(65).fill(1)),
      /context holds 64: got 0 and 65 more/,
    );
  }));

test("a model without a config is refused", async () => {
  await assert.rejects(loadModel(cpu, join(folder, "llama", "model.safetensors")), /config.json/);
});
