import { test } from "node:test";
import assert from "node:assert/strict";
import { openDevice } from "../lib/device.ts";
import * as linear from "../lib/linear.ts";
import * as reference from "../lib/linear_reference.ts";
import { packRow, unpackRow } from "../lib/pack.ts";
import { quantize } from "../lib/quantizer.ts";
import { gpuTest } from "./gpu_devices.ts";
import {
  asGpu,
  asNarrow,
  CODED,
  denseAgrees,
  denseWeights,
  dequantiseAgrees,
  fractionalZeros,
  KINDS,
  lopsided,
  matmulAgrees,
  matvecAgrees,
  SHAPES,
  tokens,
  weights,
  withBindings,
  within,
} from "./linear_cases.ts";
import { fill, uniform } from "./random.ts";

KINDS.forEach((name, i) => {
  const [first, second, third] = [0, 2, 4].map((step) => SHAPES[(i + step) % SHAPES.length]);

  gpuTest(
    `matvec agrees with the reference, ${name} at ${first} and ${second}`,
    async (_, device) => {
      await matvecAgrees(device, weights(first[0], first[1], name, first[2]));
      await matvecAgrees(device, weights(second[0], second[1], name, second[2]), {
        batch: 2,
        biased: true,
      });
    },
  );

  gpuTest(`matmul agrees with the reference, ${name} at ${third}`, async (_, device) => {
    const q = weights(third[0], third[1], name, third[2]);
    await matmulAgrees(device, q, 17, { biased: i % 2 === 1 });
  });

  gpuTest(`dequantise agrees with the reference, ${name} at ${first}`, async (_, device) => {
    await dequantiseAgrees(device, weights(first[0], first[1], name, first[2]));
  });
});

CODED.forEach(([name, scales], i) => {
  gpuTest(
    `products and dequantise agree with the reference, ${name}, ${scales}`,
    async (_, device) => {
      for (const step of [0, 1, 3]) {
        const [rows, cols, group] = SHAPES[(i + step) % SHAPES.length];
        const q = weights(rows, cols, name, group, scales);
        await matvecAgrees(device, q, { batch: 1 + step % 2, biased: step > 0 });
        await matmulAgrees(device, q, 17, { biased: step > 0 });
        if (step === 0 && i % 3 === 0) await matmulAgrees(asGpu(device), q, 17); // by tiles
        if (step === 1) await matvecAgrees(asGpu(device), q); // activations staged
        await dequantiseAgrees(device, q);
      }
    },
  );
});

gpuTest("rows of coded scales in slices give what they give whole", async (_, device) => {
  for (const scales of ["e1m3-row", "e2m2-tensor"]) {
    const q = weights(33, 172, "nf4-asym", 32, scales); // 6 groups: 8 or 6 bytes a row
    const loaded = await linear.load(device, q, 19);
    assert.deepEqual(
      loaded.slices.map(({ rows }) => rows),
      scales === "e1m3-row" ? [19, 14] : [16, 16, 1],
    );
    const x = tokens(1, 172);
    assert.deepEqual(await linear.matvec(device, loaded, x), await linear.matvec(device, q, x));
    assert.deepEqual(await linear.dequantise(device, loaded), await linear.dequantise(device, q));
    loaded.free();
  }
});

gpuTest("every format of a kind runs through the same kernels", async (_, device) => {
  for (const name of ["int4-sym", "e3m0-asym", "e1m2-sym", "custom:-1,-0.4,0.3,2-asym"]) {
    await matvecAgrees(device, weights(5, 93, name, 32));
    await matmulAgrees(device, weights(5, 93, name, 32), 3);
  }
});

for (const name of ["fp4-asym", "nf4-asym", "fp3-asym", "nf3-asym"]) {
  gpuTest(
    `scale ratios of 1 to 2048 and one-hot x stay in the bound, ${name}`,
    async (_, device) => {
      for (const ratio of [1, 16, 128, 2048]) {
        const q = lopsided(name, ratio);
        const levels = [...unpackRow(q.format, q.codes, 0, q.cols)].map((c) => q.format.levels[c]);
        await matvecAgrees(device, q);
        await matmulAgrees(device, q, 3);
        for (const sign of [1, -1]) {
          const hot = levels.findIndex((level) => sign * level > 0);
          const x = new Float32Array(q.cols);
          x[hot] = 1;
          await matvecAgrees(device, q, { x });
        }
      }
    },
  );
}

for (const dtype of ["F32", "F16", "BF16"] as const) {
  gpuTest(`dense products agree with the reference, ${dtype}`, async (_, device) => {
    for (const [rows, cols] of [[5, 93], [33, 1000], [3, 8]]) {
      const w = denseWeights(rows, cols, dtype);
      for (const batch of [1, 2, 17]) await denseAgrees(device, w, batch);
    }
  });
}

gpuTest("zero-points that are no whole numbers are subtracted as they are", async (_, device) => {
  const [four, three] = ["int4-asym", "int3-asym"].map((name) => fractionalZeros(9, 93, name));
  await matvecAgrees(device, four);
  await matmulAgrees(device, three, 3);
  await matvecAgrees(asGpu(device), three);
  await dequantiseAgrees(device, four);
});

gpuTest("a long row of equal terms stays in the bound", async (_, device) => {
  const q = quantize(new Float32Array(4 * 11008).fill(0.1), {
    rows: 4,
    cols: 11008,
    format: "nf4-asym",
  });
  const x = new Float32Array(11008).fill(1.1);
  await matvecAgrees(device, q, { x });
  await matmulAgrees(device, q, 1, { x });
});

gpuTest("alternating terms that cancel stay in the bound", async (_, device) => {
  const w = Float32Array.from({ length: 4 * 4096 }, (_, i) => i % 2 ? 1000 : -1000.5);
  const q = quantize(w, { rows: 4, cols: 4096, format: "fp4-asym", group: 64 });
  await matvecAgrees(device, q, { x: new Float32Array(4096).fill(1) });
  await matmulAgrees(device, q, 1, { x: new Float32Array(4096).fill(1) });
});

gpuTest("no activation, no output: exactly 0", async (_, device) => {
  for (const name of ["fp4-asym", "int4-asym", "nf3-sym"]) {
    const y = await linear.matvec(device, weights(5, 93, name, 32), new Float32Array(93));
    assert.ok(y.every((value) => value === 0), name);
  }
});

gpuTest("activations times a power of two scale y exactly", async (_, device) => {
  const q = weights(5, 93, "nf4-asym", 32);
  const x = tokens(1, 93);
  const y = await linear.matvec(device, q, x);
  const scaled = await linear.matvec(device, q, x.map((value) => value / 1024));
  assert.deepEqual(scaled, y.map((value) => value / 1024));
});

gpuTest("negated FP weights swap their scales and negate y exactly", async (_, device) => {
  const w = fill(5 * 93, uniform(5)).map((value) => value - 0.3);
  const options = { rows: 5, cols: 93, format: "fp4-asym", group: 32 };
  // Ties go down on both sides, so weights on a border would not mirror: move them off it.
  const y = await linear.matvec(device, quantize(w, options), tokens(1, 93));
  const mirrored = quantize(w.map((value) => -value), options);
  const back = await linear.matvec(device, mirrored, tokens(1, 93));
  assert.deepEqual(back, y.map((value) => -value));
});

gpuTest("tokens together give what they give one by one, bit for bit", async (_, device) => {
  const q = weights(33, 172, "nf4-asym", 64);
  const x = tokens(33, 172);
  const together = await linear.matmul(device, q, x, 33);
  for (const token of [0, 1, 31, 32]) {
    const alone = await linear.matmul(device, q, x.subarray(172 * token, 172 * (token + 1)), 1);
    assert.deepEqual(alone, together.subarray(33 * token, 33 * (token + 1)));
  }
});

gpuTest("rows in slices give what they give whole, bit for bit", async (_, device) => {
  const q = weights(33, 172, "nf3-asym", 32);
  const loaded = await linear.load(device, q, 20);
  assert.equal(loaded.slices.length, 2);
  const bias = fill(33, uniform(1));
  const x = tokens(3, 172);
  const sliced = await linear.matvec(device, loaded, x.subarray(172), { bias });
  assert.deepEqual(sliced, await linear.matvec(device, q, x.subarray(172), { bias }));
  const many = await linear.matmul(device, loaded, x, 3);
  assert.deepEqual(many, await linear.matmul(device, q, x, 3));
  assert.deepEqual(await linear.dequantise(device, loaded), await linear.dequantise(device, q));
  loaded.free();
});

gpuTest("columns padded with groups of zeros change no bit", async (_, device) => {
  const w = fill(4 * 64, uniform(2)), wide = new Float32Array(4 * 128);
  for (let row = 0; row < 4; row++) wide.set(w.subarray(64 * row, 64 * row + 64), 128 * row);
  const x = tokens(1, 64), wideX = new Float32Array(128);
  wideX.set(x);
  const options = { rows: 4, format: "nf4-asym", group: 32 };
  const y = await linear.matmul(device, quantize(w, { ...options, cols: 64 }), x, 1);
  const padded = await linear.matmul(device, quantize(wide, { ...options, cols: 128 }), wideX, 1);
  assert.deepEqual(padded, y);
});

gpuTest("garbage in the padding of codes and scales has no effect", async (_, device) => {
  for (const name of ["fp4-sym", "nf3-sym"]) {
    const q = weights(5, 93, name, 32); // three groups: the fourth scale of a row is padding
    const dirty = { ...q, codes: new Uint32Array(q.codes.length), scales: q.scales.slice() };
    const words = 3 * q.format.bits;
    for (let row = 0; row < 5; row++) {
      const codes = new Uint8Array(96).fill(2 ** q.format.bits - 1); // the last three are padding
      codes.set(unpackRow(q.format, q.codes, row * words, 93));
      packRow(q.format, codes, dirty.codes, row * words);
      dirty.scales[4 * row + 3] = 0x7c00;
    }
    const x = tokens(1, 93);
    assert.notDeepEqual(dirty.codes, q.codes);
    assert.deepEqual(await linear.matvec(device, dirty, x), await linear.matvec(device, q, x));
    const many = await linear.matmul(device, dirty, x, 1);
    assert.deepEqual(many, await linear.matmul(device, q, x, 1), name);
  }
});

gpuTest("the same product 20 times gives the same bits", async (_, device) => {
  const q = weights(33, 1000, "nf4-asym", 16);
  const loaded = await linear.load(device, q);
  const x = tokens(2, 1000);
  const first = await linear.matvec(device, loaded, x);
  for (let i = 0; i < 20; i++) assert.deepEqual(await linear.matvec(device, loaded, x), first);
  loaded.free();
});

gpuTest("more rows than a dispatch axis holds", async (_, device) => {
  const q = weights(4 * 65535 + 5, 8, "nf4-sym", 16);
  await matvecAgrees(device, q);
});

gpuTest("W as f32 beyond one storage binding, of a matrix that fits one", async (_, device) => {
  const q = weights(37, 200, "nf4-asym", 64), loaded = await linear.load(device, q);
  const small = withBindings(device, 4 * 200 * 10 + 3);
  assert.deepEqual(await linear.dequantise(small, loaded), await linear.dequantise(device, q));
  loaded.free();
});

gpuTest("weights beyond one storage binding", async (gpu, device) => {
  const limit = gpu.device.limits.maxStorageBufferBindingSize;
  if (limit > 2 ** 27) return; // gigabytes would have to be made; slices are tested above
  const cols = 16384, rowWords = cols / 8;
  const rows = Math.floor(limit / (4 * rowWords)) + 3;
  const small = quantize(fill(3 * cols, uniform(3)), { rows: 3, cols, format: "fp4-sym" });
  const q = {
    ...small,
    rows,
    codes: new Uint32Array(rows * rowWords),
    scales: new Uint16Array(rows * 128),
  };
  for (let row = 0; row < rows; row++) {
    q.codes.set(small.codes.subarray(row % 3 * rowWords, (row % 3 + 1) * rowWords), row * rowWords);
    q.scales.set(small.scales.subarray(row % 3 * 128, (row % 3 + 1) * 128), row * 128);
  }
  const x = tokens(1, cols);
  const y = await linear.matvec(device, q, x);
  const three = await linear.matvec(device, small, x);
  assert.ok(y.every((value, row) => value === three[row % 3]));
  within(three, reference.matvec(small, x), reference.matvecBound(small, x));
});

gpuTest(
  "a device that flushes f16 subnormals decodes e2m1 and f16 all the same",
  async (gpu, device) => {
    const flushing = { ...device, gpu: { ...gpu, f16Subnormals: false } };
    await matvecAgrees(flushing, weights(5, 93, "fp4-asym", 32));
    await matmulAgrees(flushing, weights(5, 93, "fp4-sym", 32), 3);
    await dequantiseAgrees(flushing, weights(5, 93, "fp4-asym", 32));
    const w = denseWeights(5, 93, "F16");
    const halves = new Uint16Array(w.bytes.buffer);
    halves.forEach((half, i) => halves[i] = i % 3 ? half & 0x83ff : half); // subnormal ones too
    await denseAgrees(flushing, w, 1);
  },
);

gpuTest(
  "a device without subgroups multiplies by tiles and reduces by a tree",
  async (gpu, device) => {
    const plain = { ...device, gpu: { ...gpu, features: new Set<string>() } };
    await matvecAgrees(plain, weights(33, 1000, "nf4-asym", 16), { batch: 2 });
    await denseAgrees(plain, denseWeights(5, 93, "BF16"), 1);
    await matmulAgrees(plain, weights(33, 1000, "nf4-asym", 16), 40);
    await denseAgrees(plain, denseWeights(33, 93, "F16"), 40);
  },
);

gpuTest(
  "every width of batch and both readings of a table agree with the reference",
  async (gpu, device) => {
    for (const f16 of [true, false]) {
      const features = new Set([...gpu.features].filter((name) => name !== "shader-f16"));
      if (f16) features.add("shader-f16");
      const other = { ...device, gpu: { ...gpu, features } };
      await matmulAgrees(other, weights(33, 93, "nf3-asym", 16), f16 ? 5 : 4, { biased: true });
      await matmulAgrees(other, weights(33, 93, "nf4-asym", 16), f16 ? 4 : 19, { biased: true });
    }
    for (const name of ["nf4-asym", "fp3-sym", "int4-asym"]) { // made f32 first by narrow CPUs
      await matmulAgrees(device, weights(70, 72, name, 32), 33, { biased: true });
      await matmulAgrees(asNarrow(device), weights(70, 72, name, 32), 33, { biased: true });
    }
    for (const batch of [4, 5, 19]) await denseAgrees(device, denseWeights(33, 93, "BF16"), batch);
  },
);

gpuTest("weights at the edges of f32 go up and down with their exponent", async (_, device) => {
  for (const magnitude of [1e-30, 1e30]) {
    const w = fill(4 * 64, uniform(4)).map((value) => Math.fround((value - 0.5) * magnitude));
    for (const name of ["fp4-asym", "int4-asym"]) {
      const q = quantize(w, { rows: 4, cols: 64, format: name, group: 32 });
      assert.notEqual(q.scaleExponent, 0);
      await matvecAgrees(device, q);
      await matmulAgrees(device, q, 3);
      await dequantiseAgrees(device, q);
    }
  }
});

test("the TypeScript backend is the reference", async () => {
  const device = await openDevice({ binding: "cpu" });
  const q = weights(5, 93, "nf4-asym", 32);
  const x = tokens(3, 93);
  assert.deepEqual(await linear.matmul(device, q, x, 3), reference.matmul(q, x, 3));
  assert.deepEqual(await linear.dequantise(device, q), reference.dequantise(q));
  const w = denseWeights(5, 93, "BF16");
  assert.deepEqual(await linear.denseMatmul(device, w, x, 3), reference.denseMatmul(w, x, 3));
});

test("x and bias that do not fit are refused by name and shapes", async () => {
  const device = await openDevice({ binding: "cpu" });
  const q = weights(5, 93, "nf4-asym", 32);
  await assert.rejects(linear.matvec(device, q, new Float32Array(92)), {
    name: "TypeError",
    message: 'Cannot multiply "w" [5, 93] as x must be [93]: got [92]',
  });
  await assert.rejects(linear.matmul(device, q, new Float32Array(93), 3), {
    message: 'Cannot multiply "w" [5, 93] as x must be [3, 93]: got [93]',
  });
  await assert.rejects(
    linear.matvec(device, q, new Float32Array(93), { bias: new Float32Array(4) }),
    { message: 'Cannot multiply "w" [5, 93] as the bias must be [5]: got [4]' },
  );
});
