import { test } from "node:test";
import assert from "node:assert/strict";
import { type Device, openDevice } from "../lib/device.ts";
import { launchesOf, type Product } from "../lib/product.ts";
import type { Slice } from "../lib/resident.ts";

/** What a binding may have in a device that does nothing. */
const limits = { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 };

const device: Device = { ...await openDevice({ binding: "cpu" }), software: false };

const buffer = (label: string) => ({ label }) as GPUBuffer;

/** A product of a slice [rows, cols] with one token, its parts noted by their bytes. */
function product(rows: number, cols: number, made: number[] = []): Product {
  const slice = { firstRow: 8, rows, packed: true, constants: { ROWS: rows, COLS: cols } };
  return {
    kind: "matvec",
    slice: { ...slice, buffers: [buffer("codes")] } as unknown as Slice,
    tokens: 1,
    x: buffer("x"),
    y: buffer("y"),
    outRows: rows + 8,
    bias: null,
    unused: buffer("unused"),
    step: buffer("step"),
    room: (use, bytes) => (made.push(bytes), buffer(use)),
  };
}

const labels = (buffers: readonly unknown[]) => buffers.map((each) => (each as GPUBuffer).label);

test("a product is one launch, of as many workgroups as its rows need", () => {
  const [launch, ...more] = launchesOf(device, product(4100, 4096));
  assert.deepEqual(more, []);
  assert.equal(launch.name, "matvec");
  assert.equal(launch.launch.workgroups, Math.ceil(4100 / 16));
  assert.deepEqual(labels(launch.launch.buffers), ["codes", "x", "unused", "y"]);
  const { FIRST_ROW, OUT_ROWS, BIAS, ADD, GATED } = launch.launch.constants;
  assert.deepEqual([FIRST_ROW, OUT_ROWS, BIAS, ADD, GATED], [8, 4108, 0, 0, 0]);
});

test("few long rows are cut into parts, which a second launch adds up with bias and all", () => {
  const made: number[] = [];
  const [first, second] = launchesOf(device, {
    ...product(12, 8192, made),
    bias: buffer("bias"),
    add: true,
  });
  assert.deepEqual(made, [4 * 4 * 20]);
  assert.deepEqual(labels(first.launch.buffers), ["codes", "x", "bias", "parts"]);
  assert.equal(second.name, "join");
  assert.deepEqual(labels(second.launch.buffers), ["parts", "bias", "y"]);
  const { SPLIT, BIAS, ADD, ROWS } = second.launch.constants;
  assert.deepEqual([SPLIT, BIAS, ADD, ROWS], [4, 1, 1, 12]);
});

test("so are tiles that are too few for a GPU", () => {
  const made: number[] = [];
  const one = { ...product(200, 4096, made), kind: "matmul", tokens: 40, add: true } as const;
  const [first, second] = launchesOf(device, one);
  const { SPLIT, MOST } = first.launch.constants;
  assert.equal(first.launch.workgroups, SPLIT * Math.ceil(200 / 64));
  assert.deepEqual([SPLIT, MOST, made], [8, 40, [4 * 8 * 40 * 208]]);
  assert.deepEqual([second.name, second.launch.constants.BATCH], ["join", 40]);
});

test("parts that would fit no binding are one, as of a slice of very many rows", () => {
  const gpu = { features: new Set(), choices: new Map(), device: { limits } };
  const one = { ...product(200, 4096), kind: "matmul", tokens: 64 } as const;
  const partsOf = (outRows: number) => {
    const [first, ...more] = launchesOf({ ...device, gpu } as unknown as Device, {
      ...one,
      outRows,
    });
    return [first.launch.constants.SPLIT, more.length];
  };
  assert.deepEqual(partsOf(65536), [8, 1]);
  assert.deepEqual(partsOf(65537), [1, 0]);
});

test("gates and ups are never cut into parts, which could not be multiplied", () => {
  assert.equal(launchesOf(device, { ...product(12, 8192), gated: true }).length, 1);
});

test("matrix units get f16 activations first, and weights that f16 can hold", () => {
  const features = new Set(["fragments", "fragments of 16"]);
  const gpu = { features, choices: new Map(), subgroupSize: 32, device: { limits } };
  const withUnits = { ...device, gpu } as unknown as Device;
  for (const [largestScale, reach] of [[0.03, 1], [0.5, 15], [60000, 30], [2, 6 * 2 ** -14]]) {
    const made: number[] = [];
    const one = product(200, 4096, made);
    const slice = { ...one.slice, largestScale, reach };
    const launches = launchesOf(withUnits, { ...one, kind: "matmul", tokens: 40, slice });
    assert.deepEqual(launches.map(({ name }) => name), ["halve_tokens", "matmul_matrix", "join"]);
    const [, { launch: { constants, buffers } }, join] = launches;
    const largest = constants.UP * largestScale * Math.max(1, reach);
    assert.ok(largest >= 2 ** 14 && largest < 2 ** 15);
    assert.deepEqual(
      labels(buffers),
      ["codes", "halves", "unused", "parts", "factors", "step"],
    );
    assert.deepEqual(made.slice(2), [4 * constants.SPLIT * 40 * 208]);
    assert.deepEqual([constants.MOST, join.launch.constants.BATCH], [40, 40]);
    const huge = launchesOf(withUnits, {
      ...one,
      kind: "matmul",
      tokens: 40,
      slice,
      outRows: 2 ** 20,
    });
    assert.deepEqual([huge.length, huge[1].launch.constants.SPLIT], [2, 1]);
  }
});
