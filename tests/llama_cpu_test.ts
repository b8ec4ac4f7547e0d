import { test } from "node:test";
import assert from "node:assert/strict";
import { openDevice } from "../lib/device.ts";
import { loadModel } from "../lib/llama.ts";

const TINY = new URL("../examples/tiny-llama", import.meta.url).pathname;

test("the TypeScript backend runs the shipped model and forgets on reset", async () => {
  const model = await loadModel(await openDevice({ binding: "cpu" }), TINY, { context: 16 });
  const first = await model.top([0, 5], 3);
  assert.equal(first.ids.length, 3);
  assert.ok(first.logits[0] >= first.logits[1]);
  const second = await model.top([9], 3);
  assert.notDeepEqual(second, first);
  model.reset();
  assert.deepEqual(await model.top([0, 5], 3), first);
  assert.equal(model.stats.dispatchesPerToken, 0);
  assert.equal(model.stats.weightBytes, 2 * (2048 * 256 + 6 * 256 * (2 * 256 + 256 + 3 * 768)));
});
