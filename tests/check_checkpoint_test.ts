/** Claims about lib/check_checkpoint.ts; kernels themselves are held to it in linear_test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkCheckpoint, checkMatrix, worstOf } from "../lib/check_checkpoint.ts";
import { openDevice } from "../lib/device.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { quantize } from "../lib/quantizer.ts";
import { inFolder, makeModel, refusal, values } from "./made_checkpoints.ts";

test("the TypeScript backend is its own reference: worst is 0 at each batch", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"));
    const device = await openDevice({ binding: "cpu" });
    const checked = await checkCheckpoint(at("q"), device);
    assert.equal(checked.length, 12);
    assert.deepEqual(checked.slice(0, 3).map(({ batch, worst }) => [batch, worst]), [
      [1, 0],
      [2, 0],
      [17, 0],
    ]);
    device.close();
  }));

test("an output off by more than the bound comes out above 1", () => {
  const wanted = Float32Array.of(1, 2, 0);
  const bound = Float64Array.of(0.5, 0.25, 0);
  assert.equal(worstOf(wanted, wanted, bound), 0);
  assert.equal(worstOf(Float32Array.of(1.25, 2, 0), wanted, bound), 0.5);
  assert.equal(worstOf(Float32Array.of(1.25, 2.5, 0), wanted, bound), 2);
});

test("NaN, infinity and a miss where the bound is 0 are the worst there is, as a number JSON has", () => {
  const [wanted, bound] = [Float32Array.of(1, 0), Float64Array.of(1, 0)];
  for (const y of [[NaN, 0], [Infinity, 0], [1, 1e-30], [1, NaN]]) {
    const worst = worstOf(Float32Array.from(y), wanted, bound);
    assert.equal(worst, Number.MAX_VALUE);
    assert.equal(JSON.parse(JSON.stringify(worst)), worst);
  }
});

test("infinity where the reference has it too is no error", () => {
  const y = Float32Array.of(Infinity, -Infinity, 1);
  assert.equal(worstOf(y, y.slice(), Float64Array.of(Infinity, Infinity, 1)), 0);
  assert.ok(worstOf(y, y.map((value) => -value), Float64Array.of(1, 1, 1)) > 1);
});

test("a NaN is not forgotten by what comes after it", () => {
  const wanted = Float32Array.of(0, 0, 0);
  const y = Float32Array.of(NaN, 0.5, 0);
  assert.equal(worstOf(y, wanted, Float64Array.of(1, 1, 1)), Number.MAX_VALUE);
});

test("every checked matrix stays within the bound on the device that is here", async () => {
  const device = await openDevice({ fetch: false });
  try {
    const [rows, cols] = [37, 172];
    const w = values("w", [rows, cols]);
    for (const format of ["nf4-asym", "fp3-sym", "int4-asym"]) {
      const q = quantize(w, { rows, cols, format, group: 64, name: format });
      for (const { batch, worst } of await checkMatrix(device, q)) {
        assert.ok(worst <= 1, `${format} batch ${batch}: ${worst} on ${device.adapter}`);
      }
    }
  } finally {
    device.close();
  }
});

test("a dense checkpoint is refused", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const device = await openDevice({ binding: "cpu" });
    assert.match(
      await refusal(checkCheckpoint(at("m"), device)),
      /must hold afpq tensors: got none$/,
    );
  }));
