/** Claims about `--accuracy fast` with activations of a byte: products of a token or two. */
import assert from "node:assert/strict";
import { byteTest } from "../lib/arithmetic.ts";
import { checkMatrix } from "../lib/check_checkpoint.ts";
import type { Device } from "../lib/device.ts";
import { kernelFor } from "../lib/kernels.ts";
import { download, empty, run, submit, upload } from "../lib/launch.ts";
import * as linear from "../lib/linear.ts";
import * as reference from "../lib/linear_reference.ts";
import { byteTokens } from "../lib/pointwise_reference.ts";
import { uploadTokens } from "../lib/prepared_product.ts";
import { launchesOf, prepareAll } from "../lib/product.ts";
import { load } from "../lib/resident.ts";
import { candidatesOf, classOf, labelOf } from "../lib/tiling.ts";
import { present } from "./gpu_devices.ts";
import {
  asBytes,
  asGpu,
  bytesAgree,
  CODED,
  fastAgrees,
  matvecAgrees,
  tokens,
  weights,
} from "./linear_cases.ts";
import { fill, normal } from "./random.ts";
import { testUnless } from "./test_unless.ts";

const asGpuBytes = (device: Device) => asBytes(asGpu(device));

for (const { name: where, device: found } of present) {
  const device = found!;
  const gpu = device.gpu!;
  const why = await byteTest(gpu).then(() => null, (error: Error) => error.message);
  const claim = (text: string, body: () => Promise<void>) =>
    testUnless(why, `${text}, on ${where}`, body);

  claim("products of bytes are within their own bound, and beyond that of f32", async () => {
    await fastAgrees(asBytes(device), "fp4-asym", 1, 32);
    await fastAgrees(asBytes(device), "fp3-asym", 2, 16);
    await fastAgrees(asBytes(device), "int4-asym", 1, "row");
    await fastAgrees(asBytes(device), "int3-asym", 2, 32);
    await fastAgrees(asBytes(device), "fp4+5-asym", 1, 32);
    await fastAgrees(asBytes(device), "fp3-6-asym", 1, 128);
    await fastAgrees(asBytes(device), "custom:-31.75,-1,0,0.5,1,2,9-asym", 1, 16);
    await fastAgrees(asGpuBytes(device), "fp4-asym", 2, 16);
    await fastAgrees(asGpuBytes(device), "int4-asym", 1, 16);
  });

  claim(
    "whole activations that a byte holds lose nothing",
    async () => {
      for (const name of ["fp4-asym", "fp3-asym", "int4-asym", "int4-sym", "int3-asym"]) {
        for (const how of [asBytes, asGpuBytes]) {
          await bytesAgree(how(device), name);
        }
      }
    },
  );

  claim(
    "rows cut into parts, and rows whose activations are not staged, lose as little",
    async () => {
      await bytesAgree(asGpuBytes(device), "int4-asym", [12, 8200, 128]);
      const one = asGpuBytes(device);
      const loaded = await load(one, weights(12, 300, "fp3-asym", 32));
      const plain = candidatesOf(one, "matvec", loaded.slices[0], 2)
        .find(({ constants: { STAGED, SPAN } }) => !STAGED && SPAN === 8)!;
      one.gpu!.choices.set(classOf(one, "matvec", loaded.slices[0], 2), labelOf(plain));
      await bytesAgree(one, "fp3-asym", [12, 300, 32]);
      loaded.free();
    },
  );

  claim("gates and ups are multiplied with the same bytes", async () => {
    const own = asBytes(device);
    const q = weights(10, 96, "fp4-asym", 32);
    const x = Float32Array.from({ length: 96 }, (_, i) => i % 32 ? i % 7 - 3 : 127);
    const { slices: [slice], free } = await load(own, q);
    const [y, unused, step] = [empty(gpu, 32), empty(gpu, 16), empty(gpu, 16)];
    const product = {
      kind: "matvec" as const,
      slice,
      tokens: 1,
      x: await uploadTokens(own, x, 1, 96),
      y,
      outRows: 5,
      bias: null,
      unused,
      step,
      gated: true,
      room: (_: string, bytes: number) => empty(gpu, bytes),
    };
    const launches = launchesOf(own, product);
    assert.deepEqual(launches.map(({ name }) => name), ["byte_tokens", "matvec_bytes"]);
    await submit(gpu, await prepareAll(gpu, launches));
    const [wanted, bounds] = [reference.matvec(q, x), reference.matvecBound(q, x)];
    const got = await download(gpu, y, 20);
    got.forEach((value, i) => {
      const [gate, up] = [wanted[i], wanted[5 + i]];
      const off = 2 * (bounds[i] * Math.abs(up) + bounds[5 + i] * Math.abs(gate)) + 1e-5;
      assert.ok(Math.abs(value - gate / (1 + Math.exp(-gate)) * up) <= off, `row ${i}: ${value}`);
    });
    free();
  });

  claim("check holds a token or two to the bound of bytes, and more to that of f32", async () => {
    const [one, two, more] = await checkMatrix(asBytes(device), weights(37, 172, "fp4-asym", 64));
    for (const { worst } of [one, two]) assert.ok(worst > 0.01 && worst <= 1, String(worst));
    assert.ok(more.worst <= 1, String(more.worst));
    assert.deepEqual([one.kernel, two.kernel], ["matvec_bytes", "matvec_bytes"]);
    assert.match(more.kernel, /^matmul/);
  });

  claim("coded scales go with activations of a byte", async () => {
    for (const [name, scales] of CODED) {
      await matvecAgrees(asBytes(device), weights(7, 300, name, 32, scales), { batch: 2 });
    }
  });

  claim("products of bytes take activations of any size, and none at all", async () => {
    const q = weights(8, 200, "fp4-asym", 64);
    for (const size of [0, 1e-38, 1e-35, 1e-20, 1e4, 1e30]) {
      const x = tokens(2, 200).map((value) => value * size);
      await matvecAgrees(asBytes(device), q, { batch: 2, x });
    }
  });

  claim(
    "formats whose levels are no whole numbers, or gain nothing, are left as they are",
    async () => {
      for (const name of ["nf4-asym", "fp4-sym", "int3-sym"]) {
        const q = weights(8, 200, name, 64);
        const y = await linear.matvec(asBytes(device), q, tokens(1, 200));
        assert.deepEqual(y, await linear.matvec(device, q, tokens(1, 200)));
      }
    },
  );

  claim("byte_tokens rounds each unit in steps of a 127th of its largest", async () => {
    for (const IN_ORDER of [0, 1]) {
      const x = fill(2 * 96, normal(5)).map((value, i) => i < 32 ? 1e-36 : value * 10 ** (i / 32));
      const y = empty(gpu, 2 * 3 * 48);
      await run(gpu, kernelFor("byte_tokens", gpu.features), {
        constants: { COLS: 90, BATCH: 2, IN_ORDER },
        buffers: [await upload(gpu, x), y],
        workgroups: 1,
      });
      const { buffer } = await download(gpu, y);
      for (let unit = 0; unit < 6; unit++) {
        const own = x.subarray(32 * unit, 32 * unit + 32);
        const wanted = byteTokens(own);
        const [step] = new Float32Array(buffer, 48 * unit + 32, 1);
        assert.ok(Math.abs(step - wanted.steps[0]) <= 2 ** -21 * wanted.steps[0]);
        new Int8Array(buffer, 48 * unit, 32).forEach((byte, i) => {
          const [word, at] = [i >> 3, i & 7];
          const column = 8 * word + (IN_ORDER ? at : 2 * (at & 3) + (at >> 2));
          const near = Math.abs(byte * step - own[column]) <= step * (0.5 + 2 ** -12);
          assert.ok(near || byte === wanted.bytes[column], `${unit} ${i}: ${byte}`);
        });
      }
    }
  });
}
