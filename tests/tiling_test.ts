import { test } from "node:test";
import assert from "node:assert/strict";
import type { Device } from "../lib/device.ts";
import { openDevice } from "../lib/device.ts";
import type { Slice } from "../lib/resident.ts";
import { candidatesOf, classOf, labelOf, tilingOf } from "../lib/tiling.ts";
import { load } from "../lib/linear.ts";
import { gpuTest, present } from "./gpu_devices.ts";
import {
  asGpu,
  denseAgrees,
  denseWeights,
  matmulAgrees,
  matvecAgrees,
  weights,
} from "./linear_cases.ts";
import { repeated, testUnless } from "./test_unless.ts";

const slice = { packed: true, rows: 8, constants: { COLS: 64 } } as unknown as Slice;

test("tilingOf() takes the register tile where a GPU does the work", async () => {
  const device: Device = { ...(await openDevice({ binding: "cpu" })), software: false };
  assert.equal(tilingOf(device, "matmul", slice, 64).name, "matmul");
  assert.equal(tilingOf(device, "matmul", { ...slice, packed: false }, 64).name, "dense_matmul");
});

test("tiles share out their columns where they are too few, of 256 and more", async () => {
  const device: Device = { ...(await openDevice({ binding: "cpu" })), software: false };
  const parts = (rows: number, COLS: number, tokens: number, software = false) => {
    const wide = { ...slice, rows, constants: { ...slice.constants, COLS } };
    return tilingOf({ ...device, software }, "matmul", wide, tokens).constants.SPLIT;
  };
  assert.deepEqual([8, 64, 512].map((tokens) => parts(4096, 4096, tokens)), [8, 4, 1]);
  assert.deepEqual([11008, 28672].map((rows) => parts(rows, 4096, 8)), [4, 1]);
  assert.deepEqual([511, 512, 1024].map((cols) => parts(64, cols, 8)), [1, 2, 4]);
  assert.equal(parts(4096, 4096, 8, true), 1);
});

test("tilingOf() takes strips for CPUs, no wider than the batch", async () => {
  const { gpu: _, ...cpu } = await openDevice({ binding: "cpu" });
  const tokensOf = (features: string[], tokens: number) => {
    const device = {
      ...cpu,
      gpu: { features: new Set(features), choices: new Map() },
    } as unknown as Device;
    return tilingOf(device, "matmul", slice, tokens).tokens;
  };
  const chosen = [1, 2, 3, 5, 31, 32].map((tokens) => tokensOf(["subgroups"], tokens));
  assert.deepEqual(chosen, [1, 2, 4, 8, 8, 16]);
  assert.equal(tokensOf([], 9), 16); // no subgroups: the register tile
});

test("tilingOf() takes matvec for few tokens on every device", async () => {
  const device = await openDevice({ binding: "cpu" });
  for (const software of [true, false]) {
    assert.equal(tilingOf({ ...device, software }, "matvec", slice, 1).name, "matvec");
  }
});

test("tilingOf() takes bytes where a device and a matrix have them, else f16, else f32", async () => {
  const cpu = await openDevice({ binding: "cpu" });
  const nameOn = (features: string[], byteLevels: unknown, reach = 1) => {
    const gpu = { features: new Set(features), choices: new Map(), device: { limits: {} } };
    const device = { ...cpu, software: false, gpu } as unknown as Device;
    return tilingOf(device, "matvec", { ...slice, byteLevels, reach } as Slice, 1).name;
  };
  const levels = { steps: 2, run: false };
  assert.equal(nameOn(["bytes", "halves"], levels), "matvec_bytes");
  assert.equal(nameOn(["bytes", "halves"], null), "matvec_fast");
  assert.equal(nameOn(["bytes", "halves"], null, 100), "matvec");
  assert.equal(nameOn(["bytes"], null), "matvec");
  assert.equal(nameOn([], null), "matvec");
});

for (const software of [true, false]) {
  const kind = software ? "a CPU" : "a GPU";
  gpuTest(
    `every way to cut up a matvec that ${kind} has agrees with the reference`,
    async (_, real) => {
      const named = software ? real : asGpu(real);
      const device = { ...named, adapter: software ? named.adapter : "NVIDIA, by name" };
      const q = weights(40, 600, "nf4-asym", 32);
      const w = denseWeights(40, 600, "F16");
      const loaded = await load(device, q);
      const candidates = candidatesOf(device, "matvec", loaded.slices[0], 1);
      const plain = await load(device, w);
      const { choices } = device.gpu!;
      for (const [i, tiling] of candidates.entries()) {
        choices.set(classOf("matvec", loaded.slices[0], 1), labelOf(tiling));
        await matvecAgrees(device, q, { biased: i % 2 === 1 });
      }
      for (const tiling of candidatesOf(device, "matvec", plain.slices[0], 1).slice(0, 3)) {
        choices.set(classOf("matvec", plain.slices[0], 1), labelOf(tiling));
        await denseAgrees(device, w, 1);
      }
      choices.clear();
      loaded.free();
      plain.free();
    },
  );
}

const [first] = present; // large tiles compile slowly where a CPU plays the GPU
const reason = repeated ?? (first ? null : "no device is present");

testUnless(
  reason,
  "every way to cut up a matmul that a CPU has agrees with the reference",
  async () => {
    const q = weights(70, 600, "nf4-asym", 16);
    const device = { ...first.device!, software: true };
    const { choices } = device.gpu!;
    const { slices: [slice], free } = await load(device, q);
    const class_ = classOf("matmul", slice, 40);
    for (const tiling of candidatesOf(device, "matmul", slice, 40)) {
      choices.set(class_, labelOf(tiling));
      await matmulAgrees(device, q, 40, { biased: true });
    }
    choices.delete(class_);
    free();
  },
);

testUnless(reason, "every register tile that a GPU has agrees with the reference", async () => {
  const plain = asGpu(first.device!), { choices } = plain.gpu!;
  const nvidia = { ...plain, adapter: "NVIDIA, by name" }; // levels one by one
  for (
    const [device, batch, name] of [[plain, 40, "nf4-asym"], [nvidia, 20, "nf3-asym"]] as const
  ) {
    const q = weights(70, 600, name, 16), w = denseWeights(70, 600, "F16");
    const [packed, dense] = [await load(device, q), await load(device, w)];
    for (const tiling of candidatesOf(device, "matmul", packed.slices[0], batch)) {
      assert.equal(tiling.constants.SINGLY, device === nvidia ? 1 : undefined);
      choices.set(classOf("matmul", packed.slices[0], batch), labelOf(tiling));
      await matmulAgrees(device, q, batch, { biased: true });
    }
    for (const tiling of candidatesOf(device, "matmul", dense.slices[0], batch)) {
      choices.set(classOf("matmul", dense.slices[0], batch), labelOf(tiling));
      await denseAgrees(device, w, batch);
    }
    packed.free();
    dense.free();
  }
});

gpuTest("a product in parts is added up in order, for two tokens with a bias", async (_, real) => {
  const device = asGpu(real);
  const q = weights(12, 8192 + 40, "fp4-asym", 64);
  const { slices, free } = await load(device, q);
  assert.equal(tilingOf(device, "matvec", slices[0], 2).constants.SPLIT, 4);
  free();
  await matvecAgrees(device, q, { batch: 2, biased: true });
});

test("no way to cut up a matvec takes more workgroup memory than there is", async () => {
  const cpu = await openDevice({ binding: "cpu" });
  const withRoom = (maxComputeWorkgroupStorageSize: number) => {
    const gpu = {
      choices: new Map(),
      features: new Set(),
      device: { limits: { maxComputeWorkgroupStorageSize } },
    };
    return { ...cpu, software: false, gpu } as unknown as Device;
  };
  const constants = { COLS: 4096, GROUP: 128, BITS: 4, DECODE: 2, SCALING: 1 };
  const wide = { packed: true, rows: 4096, constants } as unknown as Slice;
  const spans = (room: number, tokens: number) =>
    candidatesOf(withRoom(room), "matvec", wide, tokens).map((tiling) => tiling.constants.SPAN);
  assert.equal(spans(32768, 2)[0], 64);
  assert.ok(spans(16384, 1).includes(64));
  assert.ok(spans(16384, 2).length > 3);
  assert.ok(!spans(16384, 2).slice(0, 1).includes(64));
});

test("classes tell kinds, formats and sizes apart, and take neighbours together", () => {
  const of = (rows: number, constants: Record<string, number>, tokens = 1) =>
    classOf("matvec", { packed: true, rows, constants } as unknown as Slice, tokens);
  const usual = { COLS: 4096, GROUP: 128, BITS: 4, DECODE: 0, SCALING: 1 };
  assert.equal(of(4096, usual), of(3000, usual));
  const others = [{ COLS: 8192 }, { BITS: 3 }, { DECODE: 2 }, { SCALING: 0 }, { GROUP: 64 }];
  const all = [
    of(4096, usual),
    of(11008, usual),
    ...others.map((o) => of(4096, { ...usual, ...o })),
  ];
  assert.equal(new Set(all).size, all.length);
});
