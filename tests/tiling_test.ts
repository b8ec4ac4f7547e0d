import { test } from "node:test";
import assert from "node:assert/strict";
import type { Device } from "../lib/device.ts";
import { openDevice } from "../lib/device.ts";
import type { Slice } from "../lib/resident.ts";
import { tilingOf } from "../lib/tiling.ts";

const slice = { packed: true } as Slice;

test("tilingOf() takes the register tile where a GPU does the work", async () => {
  const device: Device = { ...(await openDevice({ binding: "cpu" })), software: false };
  assert.equal(tilingOf(device, "matmul", slice, 64).name, "matmul");
  assert.equal(tilingOf(device, "matmul", { ...slice, packed: false }, 64).name, "dense_matmul");
});

test("tilingOf() takes a kernel for CPUs no wider than the batch and the vectors want", async () => {
  const { gpu: _, ...cpu } = await openDevice({ binding: "cpu" });
  const tokensOf = (features: string[], tokens: number) => {
    const device = { ...cpu, gpu: { features: new Set(features) } } as unknown as Device;
    return tilingOf(device, "matmul", slice, tokens).tokens;
  };
  assert.deepEqual([3, 5, 9].map((tokens) => tokensOf(["subgroups"], tokens)), [4, 8, 16]);
  assert.deepEqual([3, 5, 9].map((tokens) => tokensOf(["subgroups", "shader-f16"], tokens)), [
    4,
    8,
    8,
  ]);
  assert.equal(tokensOf([], 9), 32); // no subgroups: the register tile
});

test("tilingOf() takes matvec for few tokens on every device", async () => {
  const device = await openDevice({ binding: "cpu" });
  for (const software of [true, false]) {
    assert.equal(tilingOf({ ...device, software }, "matvec", slice, 1).name, "matvec");
  }
});
