import { test } from "node:test";
import assert from "node:assert/strict";
import { openDevice } from "../lib/device.ts";
import { load } from "../lib/linear.ts";
import { candidatesOf, classOf, labelOf, tilingOf } from "../lib/tiling.ts";
import { choose, tune } from "../lib/tuning.ts";
import { gpuTest, openTarget } from "./gpu_devices.ts";
import { matvecAgrees, weights } from "./linear_cases.ts";
import { inCacheFolder } from "./variables.ts";

const [usual, other] = ["one", "two"].map((name) => ({
  name: "matvec" as const,
  rows: 8,
  tokens: 2,
  constants: { [name]: 1 },
}));

test("choose() takes another tiling where it is quicker round by round", () => {
  const times = [[10, 20, 10], [8, 16, 9]]; // shares 0.8, 0.8, 0.9
  assert.deepEqual(choose([usual, other], times), { chosen: labelOf(other), share: 0.8 });
});

test("choose() keeps the default where the gain is within the noise, or in doubt", () => {
  const kept = { chosen: labelOf(usual), share: 1 };
  const swaying = [[10, 10, 10, 10, 10], [9, 14, 9, 9, 15]];
  assert.deepEqual(choose([usual, other], swaying), kept);
  assert.deepEqual(choose([usual, other], [[10, 10, 10], [9.9, 9.8, 9.8]]), kept);
});

gpuTest(
  "what tuning chose is used, on the next device as well",
  (_, { binding }) =>
    inCacheFolder(async () => {
      const embedded = binding === "software";
      const device = await openTarget(embedded ? "embedded" : binding);
      const q = weights(64, 256, "fp4-asym", 128);
      const { slices, free } = await load(device, q);
      const [tuned] = await tune(device, slices, 1);
      assert.equal(tuned.class, classOf(device, "matvec", slices[0], 1));
      assert.equal(tuned.candidates.length, candidatesOf(device, "matvec", slices[0], 1).length);
      assert.equal(labelOf(tilingOf(device, "matvec", slices[0], 1)), tuned.chosen);
      await matvecAgrees(device, q);
      assert.deepEqual(await tune(device, slices, 1), []);

      const next = await openDevice({ binding, embedded });
      assert.equal(next.gpu!.choices.get(tuned.class), tuned.chosen);
      free();
      for (const each of [device, next]) each.close();
    }),
);

gpuTest("a choice that is no candidate is passed over", async (_, device) => {
  const { slices, free } = await load(device, weights(8, 64, "fp4-sym", 32));
  const name = classOf(device, "matvec", slices[0], 1);
  device.gpu!.choices.set(name, "matvec of long ago");
  const [usual] = candidatesOf(device, "matvec", slices[0], 1);
  assert.deepEqual(tilingOf(device, "matvec", slices[0], 1), usual);
  device.gpu!.choices.delete(name);
  free();
});
