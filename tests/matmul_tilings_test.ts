import { test } from "node:test";
import assert from "node:assert/strict";
import { type Device, openDevice } from "../lib/device.ts";
import { load } from "../lib/linear.ts";
import type { DenseMatrix } from "../lib/linear_reference.ts";
import type { QuantizedMatrix } from "../lib/pack.ts";
import type { Slice } from "../lib/resident.ts";
import { candidatesOf, classOf, labelOf, tilingOf } from "../lib/tiling.ts";
import { gpuTest, present } from "./gpu_devices.ts";
import { asGpu, denseAgrees, denseWeights, matmulAgrees, weights } from "./linear_cases.ts";
import { repeated, testUnless } from "./test_unless.ts";

const slice = { packed: true, rows: 8, constants: { COLS: 64 } } as unknown as Slice;

test("a GPU broadcasts up to 16 tokens to lanes, and takes register tiles for more", async () => {
  const device: Device = { ...(await openDevice({ binding: "cpu" })), software: false };
  const nameOf = (tokens: number, packed = true) =>
    tilingOf(device, "matmul", { ...slice, packed }, tokens).name;
  assert.deepEqual([3, 16, 17, 64].map((tokens) => nameOf(tokens)), [
    ...["matmul_broadcast", "matmul_broadcast", "matmul", "matmul"],
  ]);
  assert.deepEqual([16, 17].map((tokens) => nameOf(tokens, false)), [
    ...["dense_matmul_broadcast", "dense_matmul"],
  ]);
});

test("tiles share out their columns where they are too few, of 256 and more", async () => {
  const device: Device = { ...(await openDevice({ binding: "cpu" })), software: false };
  const parts = (rows: number, COLS: number, tokens: number, software = false) => {
    const wide = { ...slice, rows, constants: { ...slice.constants, COLS } };
    return tilingOf({ ...device, software }, "matmul", wide, tokens).constants.SPLIT;
  };
  assert.deepEqual([8, 64, 512].map((tokens) => parts(4096, 4096, tokens)), [8, 4, 1]);
  assert.deepEqual([11008, 28672, 65536].map((rows) => parts(rows, 4096, 8)), [8, 2, 1]);
  assert.deepEqual([511, 512, 1024].map((cols) => parts(64, cols, 64)), [1, 2, 4]);
  assert.deepEqual([1023, 1024, 2048].map((cols) => parts(64, cols, 8)), [1, 2, 4]);
  assert.equal(parts(4096, 4096, 8, true), 1);
});

test("tilingOf() takes strips for CPUs, no wider than the batch", async () => {
  const { gpu: _, ...cpu } = await openDevice({ binding: "cpu" });
  const tokensOf = (features: string[], tokens: number) => {
    const device = {
      ...cpu,
      gpu: { features: new Set(features), choices: new Map(), device: { limits: {} } },
    } as unknown as Device;
    return tilingOf(device, "matmul", slice, tokens).tokens;
  };
  const chosen = [1, 2, 3, 5, 31, 32].map((tokens) => tokensOf(["subgroups"], tokens));
  assert.deepEqual(chosen, [1, 2, 4, 8, 8, 16]);
  assert.equal(tokensOf([], 9), 16); // no subgroups: the register tile
});

const [first] = present; // large tiles compile slowly where a CPU plays the GPU
/** A GPU that looks levels up one by one. */
const NVIDIA = "NVIDIA, by name";
const reason = repeated ?? (first ? null : "no device is present");

/** Every way that a device has for weights, or those of one kind, held to the reference. */
async function allAgree(
  device: Device,
  w: QuantizedMatrix | DenseMatrix,
  batch: number,
  kind = /./,
  most = Infinity,
) {
  const { choices } = device.gpu!;
  const { slices: [slice], free } = await load<QuantizedMatrix | DenseMatrix>(device, w);
  const class_ = classOf(device, "matmul", slice, batch);
  const ways = candidatesOf(device, "matmul", slice, batch).filter(({ name }) => kind.test(name))
    .slice(0, most);
  assert.ok(ways.length > 1);
  for (const tiling of ways) {
    const singly = "codes" in w && device.adapter === NVIDIA;
    assert.equal(tiling.constants.SINGLY, singly ? 1 : undefined);
    choices.set(class_, labelOf(tiling));
    await ("codes" in w
      ? matmulAgrees(device, w, batch, { biased: true })
      : denseAgrees(device, w, batch));
  }
  choices.delete(class_);
  free();
}

/** The same as a GPU, for packed weights and some ways for dense ones. */
async function allAgreeAsGpu(adapter: string, name: string, batch: number, kind: RegExp) {
  const device = { ...asGpu(first.device!), adapter };
  await allAgree(device, weights(70, 600, name, 16), batch, kind);
  if (adapter !== NVIDIA) await allAgree(device, denseWeights(70, 600, "F16"), batch, kind, 4);
}

testUnless(
  reason,
  "every way to cut up a matmul that a CPU has agrees with the reference",
  () => allAgree({ ...first.device!, software: true }, weights(70, 600, "nf4-asym", 16), 40),
);

gpuTest("three tokens broadcast to lanes agree with the reference", async (_, real) => {
  const device = asGpu(real);
  await matmulAgrees(device, weights(70, 300, "fp4-asym", 16), 3, { biased: true });
  await denseAgrees(device, denseWeights(70, 300, "BF16"), 3);
});

testUnless(reason, "8 and 13 tokens broadcast to lanes agree with the reference", async () => {
  const device = asGpu(first.device!);
  await matmulAgrees(device, weights(5, 93, "int4-asym", 32), 8);
  await matmulAgrees(device, weights(70, 300, "nf3-sym", 16), 13);
  await denseAgrees(device, denseWeights(3, 40, "F32"), 13);
});

testUnless(reason, "every way to broadcast that a GPU has agrees with the reference", async () => {
  await allAgreeAsGpu("a GPU", "fp4-asym", 4, /_broadcast$/);
  await allAgreeAsGpu(NVIDIA, "nf3-asym", 4, /_broadcast$/);
  await allAgreeAsGpu("a GPU", "nf4-asym", 20, /_broadcast$/);
});

testUnless(reason, "every register tile that a GPU has agrees with the reference", async () => {
  await allAgreeAsGpu("a GPU", "nf4-asym", 40, /matmul$/);
  await allAgreeAsGpu(NVIDIA, "nf3-asym", 20, /matmul$/);
});
