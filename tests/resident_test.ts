import assert from "node:assert/strict";
import { gpuTest } from "./gpu_devices.ts";
import { download } from "../lib/launch.ts";
import { freeAll, load, loadStack } from "../lib/resident.ts";
import { weights } from "./linear_cases.ts";

gpuTest("matrices of one kind are stacked into one slice, byte by byte", async (gpu, device) => {
  const matrices = [weights(3, 40, "nf4-asym", 32), weights(5, 40, "nf4-asym", 32)];
  const sources = matrices.map((q) => {
    return { rows: q.rows, cols: q.cols, kind: "same", read: () => Promise.resolve(q) };
  });
  const slices = await loadStack(device, sources);
  assert.equal(slices.length, 1);
  const words = new Uint32Array((await download(gpu, slices[0].buffers[0])).buffer);
  assert.deepEqual([...words], matrices.flatMap((q) => [...q.codes]));
  freeAll(slices);
});

gpuTest("matrices of different kinds keep slices of their own", async (_, device) => {
  const matrices = [weights(3, 40, "nf4-asym", 32), weights(5, 40, "fp4-sym", 32)];
  const sources = matrices.map((q) => {
    return { rows: q.rows, cols: q.cols, kind: q.format.name, read: () => Promise.resolve(q) };
  });
  const slices = await loadStack(device, sources);
  assert.deepEqual(slices.map(({ firstRow, rows }) => [firstRow, rows]), [[0, 3], [3, 5]]);
  freeAll(slices);
});

gpuTest("slices hold as many rows as they may", async (_, device) => {
  const loaded = await load(device, weights(33, 172, "nf4-asym", 32), 20);
  assert.deepEqual(loaded.slices.map(({ firstRow, rows }) => [firstRow, rows]), [[0, 20], [
    20,
    13,
  ]]);
  loaded.free();
});
