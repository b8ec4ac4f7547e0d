/** Claims about `--matrix-units`: products of many tokens by the matrix units of a GPU. */
import { test } from "node:test";
import assert from "node:assert/strict";
import { fragmentTest, MATRIX_UNITS } from "../lib/arithmetic.ts";
import { type Device, openDevice } from "../lib/device.ts";
import { f16Bits, f16Value, powerOfTwo } from "../lib/float16.ts";
import { kernelFor } from "../lib/kernels.ts";
import * as linear from "../lib/linear.ts";
import * as reference from "../lib/linear_reference.ts";
import { keepForever } from "../lib/native.ts";
import { loadNpm } from "../lib/npm.ts";
import type { Group } from "../lib/pack.ts";
import { candidatesOf, classOf, labelOf, type Tiling } from "../lib/tiling.ts";
import { present } from "./gpu_devices.ts";
import { denseWeights, tokens, weights } from "./linear_cases.ts";
import { miscompiling } from "./miscompiling.ts";
import { testUnless } from "./test_unless.ts";

const UNITS = ["matmul_matrix", "dense_matmul_matrix", "self_test_matrix"] as const;

test("kernels for matrix units are valid to Dawn, which needs no GPU to say so", async () => {
  const { create } = await loadNpm<{ create(flags: string[]): GPU }>("webgpu");
  const gpu = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
  keepForever(gpu);
  const adapter = (await gpu.requestAdapter())!;
  const wanted = ["shader-f16", "subgroups", MATRIX_UNITS] as GPUFeatureName[];
  const device = await adapter.requestDevice({ requiredFeatures: wanted });
  const shape = { ROWS: 64, COLS: 96, OUT_ROWS: 64, LANES: 128, SUBGROUPS: 4, TOKENS: 16 };
  const constants: Record<(typeof UNITS)[number], Record<string, number>> = {
    matmul_matrix: { ...shape, GROUP: 32, BITS: 4, DECODE: 0, SCALING: 1 },
    dense_matmul_matrix: { ...shape, DTYPE: 1 },
    self_test_matrix: { WORKGROUP: 128 },
  };
  const having = (side: number) =>
    new Set([...wanted, "halves", "fragments", `fragments of ${side}`]);
  for (const side of [16, 8]) {
    for (const name of UNITS) {
      const { code } = kernelFor(name, having(side));
      assert.match(code, new RegExp(`const M: u32 = ${side};`));
      const module = device.createShaderModule({ code });
      const compute = { module, entryPoint: "main", constants: constants[name] };
      await device.createComputePipelineAsync({ layout: "auto", compute });
    }
  }
  const broken = kernelFor("matmul_matrix", having(16)).code.replace(
    "sums.b0 = sub",
    "sums.b9 = sub",
  );
  device.pushErrorScope("validation");
  device.createShaderModule({ code: broken });
  assert.match((await device.popErrorScope())!.message, /b9/);
});

/** What matrix units are given: Y = X W^T with both rounded to f16, as halve_tokens and the kernel round. */
function rounded(
  w: linear.DenseMatrix | ReturnType<typeof weights>,
  x: Float32Array,
  batch: number,
) {
  const half = (value: number) => f16Value(f16Bits(value));
  const up = powerOfTwo(6); // scales here are near 1
  return Float64Array.from({ length: batch * w.rows }, (_, at) => {
    const [token, row] = [Math.floor(at / w.rows), at % w.rows];
    const own = x.subarray(token * w.cols, (token + 1) * w.cols);
    const all = "codes" in w ? reference.weightsOf(w, row) : reference.denseRow(w, row);
    return own.reduce((sum, value, c) => sum + half(value * up) / up * half(all[c] * up) / up, 0);
  });
}

test("W and X rounded to f16 are within the bound of matrix units, and not by far", () => {
  const x = tokens(5, 700);
  const matrices = [weights(9, 700, "nf4-asym", 64), weights(9, 700, "int4-asym", 32)];
  for (const w of [...matrices, denseWeights(9, 700, "F16")]) {
    const wanted = "codes" in w ? reference.matmul(w, x, 5) : reference.denseMatmul(w, x, 5);
    const bounds = reference.fragmentsBound(w, x, 5);
    const shares = rounded(w, x, 5).map((y, i) => Math.abs(y - wanted[i]) / bounds[i]);
    assert.ok(Math.max(...shares) < 1, `${Math.max(...shares)}`);
    assert.ok(Math.max(...shares) > 0.01, `${Math.max(...shares)}`);
  }
});

const byUnits = ({ name }: Tiling) => name.endsWith("_matrix");

test("tiles hold all tokens where they can, and few tiles share out the columns", () => {
  const gpu = {
    features: new Set(["fragments", "fragments of 16"]),
    choices: new Map(),
    subgroupSize: 32,
    device: { limits: {} },
  };
  const device = { software: false, gpu } as unknown as Device;
  const tilings = (tokens: number, rows: number, more = {}) => {
    const constants = { COLS: 4096, DTYPE: 1 };
    const slice = { packed: false, rows, constants, reach: 0, largestScale: 0, ...more };
    return candidatesOf(device, "matmul", slice as never, tokens);
  };
  const names = (tokens: number) => new Set(tilings(tokens, 4096).map(({ name }) => name));
  assert.deepEqual([...names(16)], ["dense_matmul_matrix", "dense_matmul_broadcast"]);
  assert.deepEqual([...names(17)], ["dense_matmul_matrix", "dense_matmul"]);
  assert.deepEqual(
    [3, 17, 33, 512].map((tokens) => tilings(tokens, 11008)[0].tokens),
    [16, 32, 64, 128],
  );
  for (const tokens of [3, 64, 512]) {
    for (const { rows, constants } of tilings(tokens, 4096).filter(byUnits)) {
      assert.equal(rows, constants.LANES / 2);
      assert.ok(constants.TOKENS <= 16 * constants.SUBGROUPS);
      assert.ok(constants.SPLIT * 1024 <= 4096);
    }
  }
  assert.ok(tilings(64, 512)[0].constants.SPLIT > tilings(64, 65536)[0].constants.SPLIT);
  const tiny = { packed: true, largestScale: 0, reach: 1 };
  assert.equal(tilings(64, 4096, tiny)[0].name, "matmul", "no scale: nothing to bring to f16");
});

test("matrix units where there is no GPU are told, and other kernels take over", async () => {
  const lines: string[] = [];
  const log = (line: string) => void lines.push(line);
  const device = await openDevice({ binding: "cpu", matrixUnits: true, log });
  assert.equal(device.matrixUnits, false);
  assert.deepEqual(lines, ["No matrix units (it is no GPU): other kernels do the work"]);
});

const opened = present.some(({ name }) => name === "webgpu")
  ? await openDevice({ binding: "webgpu", matrixUnits: true, tuned: false })
  : null;
const why = opened?.matrixUnits ? null : "no adapter shows matrix units to Dawn";

testUnless(
  why,
  "products by matrix units are within their bound, and beyond that of f32",
  async () => {
    const device = opened!;
    const cases: [string, Group, number, string?][] = [
      ["fp4-asym", 128, 3],
      ["nf4-asym", 16, 17],
      ["fp3-sym", "row", 64],
      ["nf3-asym", 32, 65],
      ["int4-asym", 64, 200],
      ["custom:-30,-1,0,0.5,1,2,9-asym", 32, 33],
      ["fp4-sym", 32, 20, "mx"],
      ["fp4-sym", 16, 20, "nv"],
      ["nf4-asym", 32, 20, "e1m3-row"],
    ];
    for (const [format, group, batch, scales] of cases) {
      const q = weights(150, 1100, format, group, scales), x = tokens(batch, 1100);
      for (const size of [1, 1e-20, 1e20]) {
        const scaled = x.map((value) => value * size);
        await within(device, "matmul", q, scaled, batch);
      }
      const exact = reference.matmulBound(q, x, batch), wanted = reference.matmul(q, x, batch);
      const y = await linear.matmul(device, q, x, batch);
      assert.ok(y.some((value, i) => Math.abs(value - wanted[i]) > exact[i]), `${format} in f16`);
    }
    await within(device, "matmul", denseWeights(150, 1100, "F16"), tokens(40, 1100), 40);
  },
);

testUnless(
  why,
  "every way to cut up a product by matrix units agrees with the reference",
  async () => {
    const device = opened!, { choices } = device.gpu!;
    for (const w of [weights(300, 2112, "nf4-asym", 64), denseWeights(300, 2112, "F16")]) {
      const { slices, free } = await linear.load<linear.DenseMatrix | typeof w>(device, w);
      for (const batch of [8, 70, 130]) {
        for (const tiling of candidatesOf(device, "matmul", slices[0], batch).filter(byUnits)) {
          choices.set(classOf(device, "matmul", slices[0], batch), labelOf(tiling));
          await within(device, labelOf(tiling), w, tokens(batch, 2112), batch);
        }
      }
      free();
    }
  },
);

testUnless(
  why,
  "fragmentTest() refuses units that mix places up, or sum less exactly",
  async () => {
    const faults = [
      ["y[i] = corner[i]", "y[i] = corner[i ^ 1u]"],
      ["y[i] = corner[i]", "y[i] = floor(corner[i] / 1024.0) * 1024.0"],
    ];
    for (const [from, to] of faults) {
      await assert.rejects(fragmentTest(miscompiling(opened!.gpu!, from, to)), /must be \[/);
    }
  },
);

async function within(
  device: Device,
  what: string,
  w: linear.DenseMatrix | ReturnType<typeof weights>,
  x: Float32Array,
  batch: number,
): Promise<void> {
  const packed = "codes" in w;
  const y = packed
    ? await linear.matmul(device, w, x, batch)
    : await linear.denseMatmul(device, w, x, batch);
  const wanted = packed ? reference.matmul(w, x, batch) : reference.denseMatmul(w, x, batch);
  const bounds = reference.fragmentsBound(w, x, batch);
  y.forEach((value, i) =>
    assert.ok(Math.abs(value - wanted[i]) <= bounds[i], `${what} ${batch} at ${i}`)
  );
}
