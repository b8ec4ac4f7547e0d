import assert from "node:assert/strict";
import { gpuTest } from "./gpu_devices.ts";
import type { Device } from "../lib/device.ts";
import { download } from "../lib/launch.ts";
import type { QuantizedMatrix } from "../lib/pack.ts";
import { factorOf, storedPair } from "../lib/pack_scales.ts";
import { freeAll, load, loadStack } from "../lib/resident.ts";
import { asBytes, fractionalZeros, weights } from "./linear_cases.ts";

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

gpuTest("a stack is multiplied as bytes where all its matrices may be", async (_, device) => {
  const [plain, other] = [weights(4, 64, "int4-sym", 32), weights(4, 64, "int4-sym", 32)];
  other.codes[7] |= 15; // the last level, by a code of its own
  const levelsOf = async (device: Device, ...matrices: QuantizedMatrix[]) => {
    const [{ byteLevels }] = await loadStack(
      device,
      matrices.map((q) => ({
        rows: q.rows,
        cols: q.cols,
        kind: "same",
        read: () => Promise.resolve(q),
      })),
    );
    return byteLevels;
  };
  assert.deepEqual(await levelsOf(asBytes(device), plain, plain), { steps: 1, run: true });
  assert.equal(await levelsOf(asBytes(device), plain, other), null);
  assert.equal(await levelsOf(device, plain, plain), null);
});

gpuTest(
  "codes are their own levels where zero-points of all matrices are whole",
  async (_, device) => {
    const wholeOf = async (...matrices: QuantizedMatrix[]) => {
      const slices = await loadStack(
        device,
        matrices.map((q) => ({ ...q, kind: "same", read: () => Promise.resolve(q) })),
      );
      freeAll(slices);
      return slices.map(({ constants }) => constants.WHOLE);
    };
    const [whole, other] = [weights(4, 64, "int4-asym", 16), fractionalZeros(4, 64, "int4-asym")];
    assert.deepEqual(await wholeOf(whole, whole), [1]);
    assert.deepEqual(await wholeOf(whole, other), [undefined]);
    assert.deepEqual(await wholeOf(weights(4, 64, "int4-asym", 16, "e1m3-row")), [1]);
    assert.deepEqual(await wholeOf(weights(4, 64, "int4-sym", 16)), [undefined]);
  },
);

gpuTest("matrices of different kinds keep slices of their own", async (_, device) => {
  const matrices = [weights(3, 40, "nf4-asym", 32), weights(5, 40, "fp4-sym", 32)];
  const sources = matrices.map((q) => {
    return { rows: q.rows, cols: q.cols, kind: q.format.name, read: () => Promise.resolve(q) };
  });
  const slices = await loadStack(device, sources);
  assert.deepEqual(slices.map(({ firstRow, rows }) => [firstRow, rows]), [[0, 3], [3, 5]]);
  freeAll(slices);
});

gpuTest(
  "rows of coded scales are stacked where each matrix ends at a word, else not",
  async (gpu, device) => {
    for (const [rows, slicesWanted] of [[4, 1], [3, 2]]) {
      const all = weights(2 * rows, 200, "nf4-asym", 32, "e1m3-tensor"); // seven bytes a row
      const half = (from: number) => ({
        ...all,
        rows,
        codes: all.codes.slice(from * 28, (from + rows) * 28),
        scales: all.scales.slice(from * 7, (from + rows) * 7),
      });
      const sources = [half(0), half(rows)].map((q) => {
        return { rows, cols: 200, kind: "same", read: () => Promise.resolve(q) };
      });
      const slices = await loadStack(device, sources);
      assert.equal(slices.length, slicesWanted);
      const bytes = await Promise.all(slices.map(async ({ rows, buffers }) => {
        return [...new Uint8Array((await download(gpu, buffers[2])).buffer)].slice(0, 7 * rows);
      }));
      assert.deepEqual(bytes.flat(), [...all.scales]);
      freeAll(slices);
    }
  },
);

gpuTest("slices hold as many rows as they may", async (_, device) => {
  const loaded = await load(device, weights(33, 172, "nf4-asym", 32), 20);
  assert.deepEqual(loaded.slices.map(({ firstRow, rows }) => [firstRow, rows]), [[0, 20], [
    20,
    13,
  ]]);
  loaded.free();
});

gpuTest(
  "matrix units are told the largest scale that there is, not that there could be",
  async (_, device) => {
    const features = new Set([...device.gpu!.features, "fragments", "fragments of 16"]);
    const units: Device = { ...device, gpu: { ...device.gpu!, features } };
    for (
      const [format, group, scales] of [
        ["fp4-sym", 32, "mx"],
        ["fp4-sym", 16, "nv"],
        ["nf4-asym", 32, "e1m3-row"],
        ["int4-asym", 32, "e2m2-tensor"],
        ["nf3-asym", 64, undefined],
      ] as const
    ) {
      const q = weights(6, 300, format, group, scales);
      let wanted = 0;
      for (let row = 0; row < q.rows; row++) {
        for (let at = 0; at < Math.ceil(q.cols / group); at++) {
          const [first, second] = storedPair(q, row, at).map(Math.abs);
          const most = q.format.scaling === "zero-point" ? first : Math.max(first, second);
          wanted = Math.max(wanted, most / (scales ? factorOf(q, row) : 1));
        }
      }
      const loaded = await load(units, q);
      assert.equal(loaded.slices[0].largestScale, wanted, `${format} ${scales}`);
      loaded.free();
    }
  },
);
