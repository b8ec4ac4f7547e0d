/** Claims about lib/command_model.ts. */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { factLines, modelFacts, prepareModel, requireIds } from "../lib/command_model.ts";
import type { LanguageModel } from "../lib/llama.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { TINY } from "./golden_windows.ts";
import { inFolder, refusal } from "./made_checkpoints.ts";
import { noPackage } from "./made_tokenizers.ts";
import { writeTalkingModel } from "./talking_model.ts";
import { testUnless } from "./test_unless.ts";

/** Costs of a token, as a model tells them. */
const stats = {
  weightBytes: 9,
  dispatchesPerToken: 51,
  bytesPerToken: 3_000_000,
  cacheBytesPerPosition: 3072,
};
const model = { stats } as LanguageModel;

testUnless(
  noPackage,
  "bits a weight count the linears, and the head as it is run",
  () =>
    inFolder(async (at) => {
      await quantizeCheckpoint(TINY, at("q"), { format: "nf3-asym" });
      const linears = 4_718_592, head = 2048 * 256;
      for (const [format, bits] of [[null, 16], ["nf4-sym", 4.125]] as const) {
        const facts = modelFacts(await prepareModel({ path: at("q"), head: format }), model);
        assert.equal(facts.bitsPerWeight, 3.25);
        const both = (3.25 * linears + bits * head) / (linears + head);
        assert.ok(Math.abs(facts.bitsPerWeightWithHead - both) < 1e-9);
      }
    }),
);

testUnless(noPackage, "costs are told in two lines", async () => {
  assert.deepEqual(factLines(modelFacts(await prepareModel({ path: TINY }), model)), [
    "a token: 51 dispatches, 3.0 MB of weights, 3.1 kB of cache a position before it",
    "bits a weight: 16 in the linears, 16 with the head",
  ]);
});

testUnless(noPackage, "a folder without a config is no model", () =>
  inFolder(async (at) => {
    await writeTalkingModel(at("m"));
    await rm(at("m", "config.json"));
    assert.match(
      await refusal(prepareModel({ path: at("m") })),
      /must hold a config.json: got none$/,
    );
  }));

testUnless(noPackage, "ids at or above the vocabulary are refused", async () => {
  const prepared = await prepareModel({ path: TINY });
  requireIds([0, 2047], prepared);
  assert.throws(() => requireIds([5, 2048], prepared), /vocabulary, 2048: got 2048/);
});
