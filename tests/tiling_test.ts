import { test } from "node:test";
import assert from "node:assert/strict";
import type { Device } from "../lib/device.ts";
import { openDevice } from "../lib/device.ts";
import type { Slice } from "../lib/resident.ts";
import { findFold } from "../lib/self_test.ts";
import { candidatesOf, classOf, kindOf, labelOf, tilingOf } from "../lib/tiling.ts";
import { load } from "../lib/linear.ts";
import { gpuTest } from "./gpu_devices.ts";
import { asGpu, denseAgrees, denseWeights, matvecAgrees, weights } from "./linear_cases.ts";

const FRAGMENTS = [16, 8].map((side) => ["fragments", `fragments of ${side}`]);
const slice = { packed: true, rows: 8, constants: { COLS: 64 } } as unknown as Slice;

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
      if (!software) await findFold(named.gpu!, named.gpu!.subgroupSize);
      const device = { ...named, adapter: software ? named.adapter : "NVIDIA, by name" };
      const q = weights(40, 600, "nf4-asym", 32);
      const w = denseWeights(40, 600, "F16");
      const loaded = await load(device, q);
      const candidates = candidatesOf(device, "matvec", loaded.slices[0], 1);
      const plain = await load(device, w);
      const { choices, subgroupSize } = device.gpu!;
      const folds = new Set(candidates.map(({ constants: { FOLD = 1 } }) => FOLD));
      assert.deepEqual([...folds], [software ? 1 : Math.max(1, subgroupSize)]);
      for (const [i, tiling] of candidates.entries()) {
        choices.set(classOf(device, "matvec", loaded.slices[0], 1), labelOf(tiling));
        await matvecAgrees(device, q, { biased: i % 2 === 1 });
      }
      for (const tiling of candidatesOf(device, "matvec", plain.slices[0], 1).slice(0, 3)) {
        choices.set(classOf(device, "matvec", plain.slices[0], 1), labelOf(tiling));
        await denseAgrees(device, w, 1);
      }
      choices.clear();
      loaded.free();
      plain.free();
    },
  );
}

gpuTest("a product in parts is added up in order, for two tokens with a bias", async (_, real) => {
  const device = asGpu(real);
  const q = weights(12, 8192 + 40, "fp4-asym", 64);
  const { slices, free } = await load(device, q);
  assert.equal(tilingOf(device, "matvec", slices[0], 2).constants.SPLIT, 4);
  free();
  await matvecAgrees(device, q, { batch: 2, biased: true });
});

test("few rows of many columns are cut into parts by default, others where tuning finds so", async () => {
  const cpu = await openDevice({ binding: "cpu" });
  const gpu = { features: new Set(), choices: new Map(), device: { limits: {} } };
  const device = { ...cpu, software: false, gpu } as unknown as Device;
  const parts = (rows: number, COLS: number, packed = true) => {
    const constants = { COLS, GROUP: 128, BITS: 4, DECODE: 2, SCALING: 1 };
    const slice = { packed, rows, constants } as unknown as Slice;
    return candidatesOf(device, "matvec", slice, 1).map(({ constants }) => constants.SPLIT);
  };
  assert.deepEqual([parts(1024, 8192)[0], parts(2048, 8192)[0], parts(1024, 4096)[0]], [4, 2, 1]);
  assert.deepEqual([parts(1024, 8192, false)[0], parts(4096, 11008)[0]], [2, 1]);
  for (const [rows, cols] of [[1024, 8192], [1024, 4096], [4096, 4096], [28672, 8192]]) {
    const all = parts(rows, cols);
    assert.ok(all.includes(1) && all.some((split) => split > 1), `${rows}x${cols}: ${all}`);
  }
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

test("classes tell kernels, formats and sizes apart, and take neighbours together", async () => {
  const cpu = await openDevice({ binding: "cpu" });
  const of = (rows: number, constants: Record<string, number>, traits: string[] = []) => {
    const gpu = { features: new Set(traits), choices: new Map(), device: { limits: {} } };
    const device = { ...cpu, software: false, gpu } as unknown as Device;
    const slice = { packed: true, rows, constants, reach: 1 } as unknown as Slice;
    return classOf(device, "matvec", slice, 1);
  };
  const usual = { COLS: 4096, GROUP: 128, BITS: 4, DECODE: 0, SCALING: 1 };
  assert.equal(of(4096, usual), of(3000, usual));
  const others: Record<string, number>[] = [
    { COLS: 8192 },
    { BITS: 3 },
    { DECODE: 2 },
    { WHOLE: 1 },
    { SCALING: 0 },
    { GROUP: 64 },
  ];
  const all = [
    of(4096, usual),
    of(4096, usual, ["halves"]),
    of(11008, usual),
    ...others.map((o) => of(4096, { ...usual, ...o })),
  ];
  assert.equal(new Set(all).size, all.length);
});

test("a choice for one shape serves its neighbours, in as many parts as those are cut into", async () => {
  const cpu = await openDevice({ binding: "cpu" });
  const gpu = { features: new Set(), choices: new Map(), device: { limits: {} } };
  const device = { ...cpu, software: false, gpu } as unknown as Device;
  const slice = (rows: number) => {
    const constants = { COLS: 4096, GROUP: 128, BITS: 4, DECODE: 0, SCALING: 1 };
    return { packed: true, rows, constants } as unknown as Slice;
  };
  const [few, many] = [slice(1100), slice(2048)];
  const ways = candidatesOf(device, "matmul", few, 64);
  const chosen = ways.find(({ constants }) => constants.ACROSS === 8 && constants.SPLIT > 1)!;
  gpu.choices.set(classOf(device, "matmul", few, 64), labelOf(chosen));
  assert.deepEqual(tilingOf(device, "matmul", few, 64), chosen);
  const next = tilingOf(device, "matmul", many, 64).constants;
  assert.ok(next.SPLIT < chosen.constants.SPLIT);
  assert.deepEqual([next.ACROSS, next.WIDE], [chosen.constants.ACROSS, chosen.constants.WIDE]);
});

test("tuning has 6 to 12 ways to compare, whatever the shape, batch and device", async () => {
  const cpu = await openDevice({ binding: "cpu" });
  const shapes = [[4096, 4096], [11008, 4096], [28672, 8192], [128, 8192], [128256, 8192]];
  for (const software of [true, false]) {
    for (const traits of [[], ["subgroups", "octets"], ["halves"], ["bytes"], ...FRAGMENTS]) {
      const features = new Set(traits);
      const gpu = { features, choices: new Map(), subgroupSize: 32, device: { limits: {} } };
      const device = { ...cpu, software, gpu } as unknown as Device;
      for (const [rows, COLS] of shapes) {
        for (const tokens of [1, 2, 3, 8, 16, 17, 32, 64, 512]) {
          for (const DECODE of [0, 2]) {
            const constants = { COLS, GROUP: 128, BITS: 4, DECODE, SCALING: 1 };
            const known = { packed: true, rows, constants, reach: 1, largestScale: 1 };
            const slice = { ...known, byteLevels: { steps: 1, run: false } } as unknown as Slice;
            const kind = kindOf(tokens);
            const { length } = candidatesOf(device, kind, slice, tokens);
            const what = `${software} ${traits} ${rows}x${COLS} ${tokens} ${DECODE}: ${length}`;
            assert.ok(length >= 6 && length <= 12, what);
          }
        }
      }
    }
  }
});
