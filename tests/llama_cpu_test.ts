import { test } from "node:test";
import assert from "node:assert/strict";
import { setImmediate } from "node:timers";
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

test("the event loop turns while the model runs", async () => {
  const model = await loadModel(await openDevice({ binding: "cpu" }), TINY, { context: 16 });
  const runs = [() => model.losses([0, 5]), () => model.allLogits([0]), () => model.top([3], 1)];
  for (const run of runs) {
    let turned = false;
    setImmediate(() => turned = true);
    await run();
    assert.ok(turned);
  }
});

test("windows that run at the same time do not see each other", async () => {
  const model = await loadModel(await openDevice({ binding: "cpu" }), TINY, { context: 16 });
  const windows = [[0, 5, 9, 2], [7, 7, 1], [300, 4]];
  const alone = [];
  for (const ids of windows) alone.push(await model.losses(ids));
  assert.deepEqual(await Promise.all(windows.map(model.losses)), alone);
});

test("a cache that no memory holds is refused by its bytes", async () => {
  const model = loadModel(await openDevice({ binding: "cpu" }), TINY, { context: 1e12 });
  await assert.rejects(model, {
    name: "RangeError",
    message: "Cannot run the model as keys and values of 1000000000000 tokens must fit memory: " +
      "got 6144000000000000 bytes",
  });
});
