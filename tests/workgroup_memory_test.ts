/** Claims about how much workgroup memory products want: Dawn's validation, without a GPU, is the witness. */
import { test } from "node:test";
import assert from "node:assert/strict";
import { MATRIX_UNITS } from "../lib/arithmetic.ts";
import { type Device, openDevice } from "../lib/device.ts";
import { kernelFor } from "../lib/kernels.ts";
import { keepForever } from "../lib/native.ts";
import { loadNpm } from "../lib/npm.ts";
import { launchesOf } from "../lib/product.ts";
import type { Slice } from "../lib/resident.ts";
import { candidatesOf, kindOf, labelOf } from "../lib/tiling.ts";
import { workgroupBytes } from "../lib/workgroup_memory.ts";

/** What WebGPU promises of every device; no smaller limit can be asked for. */
const PROMISED = 16384;

const { create } = await loadNpm<{ create(flags: string[]): GPU }>("webgpu");
const dawn = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
keepForever(dawn);

const adapter = (await dawn.requestAdapter())!;
const device = await adapter.requestDevice({
  requiredFeatures: ["shader-f16", "subgroups", MATRIX_UNITS] as GPUFeatureName[],
});
keepForever(device);

/** What Dawn says against a kernel that wants so many bytes of workgroup memory besides. */
async function refusal(code: string, constants: Record<string, number>, besides: number) {
  const padded = code.replace(/(fn main\([^{]*\{)/, "$1\n  padding[0] = 1u;") +
    `\nvar<workgroup> padding: array<u32, ${besides / 4}>;\n`;
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code: padded });
  const compute = { module, entryPoint: "main", constants };
  device.createComputePipeline({ layout: "auto", compute });
  return (await device.popErrorScope())?.message;
}

const FRAGMENTS = [16, 8].map((side) => ["halves", "fragments", `fragments of ${side}`]);

const cpu = await openDevice({ binding: "cpu" });

/** A GPU by its traits alone, with so much workgroup memory. */
function gpuWith(
  traits: string[],
  adapter: string,
  maxComputeWorkgroupStorageSize = 2 ** 20,
): Device {
  const limits = {
    maxComputeWorkgroupStorageSize,
    maxStorageBufferBindingSize: 2 ** 27,
    maxBufferSize: 2 ** 28,
  };
  const features = new Set(["shader-f16", "subgroups", ...traits]);
  const gpu = { features, choices: new Map(), subgroupSize: 32, device: { limits } };
  return { ...cpu, software: false, adapter, gpu } as unknown as Device;
}

const slices = ["packed by a table", "packed, bits decoded", "dense"].map((kind, i) => {
  const packed = kind !== "dense";
  const own = packed ? { GROUP: 128, BITS: 4, DECODE: i === 0 ? 2 : 0, SCALING: 1 } : { DTYPE: 1 };
  const constants = { ...own, ROWS: 4096, COLS: 4096, F16_SUBNORMALS: 1 };
  const byteLevels = i === 1 ? { steps: 1, run: false } : null;
  const known = { firstRow: 0, rows: 4096, reach: 1, largestScale: 1, byteLevels, buffers: [] };
  return { ...known, packed, constants } as unknown as Slice;
});

test("no product is cut up so that it wants more workgroup memory than there is", () => {
  const seen = { fits: 0, full: 0 };
  for (const traits of [[], ["halves"], ["halves", "bytes"], ...FRAGMENTS]) {
    for (const slice of slices) {
      for (const tokens of [1, 2, 8, 64, 512]) {
        const kind = kindOf(tokens);
        for (const adapter of ["NVIDIA, by name", "another"]) {
          const device = gpuWith(traits, adapter);
          const all = candidatesOf(device, kind, slice, tokens);
          const small = candidatesOf(gpuWith(traits, adapter, PROMISED), kind, slice, tokens);
          const fits = all.filter((tiling) =>
            workgroupBytes(device, tiling, slice, tokens) <= PROMISED
          );
          if (fits.length > 0) assert.deepEqual(small.map(labelOf), fits.map(labelOf));
          assert.ok(small.length > 0, `${kind} of ${tokens}`);
          assert.ok(
            small.every((tiling) => workgroupBytes(device, tiling, slice, tokens) <= PROMISED),
          );
          seen.fits += fits.length;
          seen.full += all.length - fits.length;
        }
      }
    }
  }
  assert.ok(seen.fits > 100 && seen.full > 10, JSON.stringify(seen));
});

test("what is told of a way to cut up a product is what its kernel wants, to 32 bytes", async () => {
  let told = 0;
  for (const traits of [[], ["halves", "bytes"], ...FRAGMENTS]) {
    for (const slice of slices) {
      for (const tokens of [1, 2, 16, 512]) {
        const kind = kindOf(tokens);
        const own = gpuWith(traits, "another");
        for (const tiling of candidatesOf(own, kind, slice, tokens)) {
          const product = { kind, slice, tokens, outRows: 4096, bias: null, room: () => ({}) };
          const { launch: { constants } } = launchesOf(own, product as never, tiling)
            .find(({ name }) => name === tiling.name)!;
          const { code } = kernelFor(tiling.name, own.gpu!.features);
          const left = PROMISED - workgroupBytes(own, tiling, slice, tokens);
          const label = `${labelOf(tiling)}, ${tokens} tokens, ${PROMISED - left} bytes`;
          if (left >= 16) assert.equal(await refusal(code, constants, left), undefined, label);
          const full = await refusal(code, constants, Math.max(left + 32, 4));
          assert.match(full ?? "", /workgroup storage|workgroup memory/i, label);
          told++;
        }
      }
    }
  }
  assert.ok(told > 100, `${told}`);
});
