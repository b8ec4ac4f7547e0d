/**
 * Claims that a device with Dawn's toggles computes the bits that one without them does: no kernel
 * leans on clamped accesses, guarded divisions or workgroup memory that begins as zeros.
 *
 * Before each product the workgroup memory of the device is filled with NaN, which drivers that
 * recycle it hand on.
 *
 * @module
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { byteTest, halfTest } from "../lib/arithmetic.ts";
import { type Device, type DeviceOptions, openDevice } from "../lib/device.ts";
import { deviceFacts, deviceText } from "../lib/device_facts.ts";
import { download, empty, joinKernel, run } from "../lib/launch.ts";
import * as linear from "../lib/linear.ts";
import { loadModel } from "../lib/llama.ts";
import { afpq } from "./afpq_process.ts";
import {
  asBytes,
  asFast,
  asGpu,
  denseWeights,
  KINDS,
  SHAPES,
  tokens,
  weights,
} from "./linear_cases.ts";
import { inFolder } from "./made_checkpoints.ts";
import { CONFIGS, madeWeights, writeModel } from "./made_models.ts";
import { repeated, testUnless } from "./test_unless.ts";

const lines: string[] = [];
const pair = await openPair({ binding: "webgpu" });

async function openPair(options: DeviceOptions): Promise<[Device, Device] | string> {
  try {
    const log = (line: string) => void lines.push(line);
    return [await openDevice(options), await openDevice({ ...options, fast: true, log })];
  } catch (error) {
    return (error as Error).message;
  }
}

const absent = typeof pair === "string" ? pair : null;
const [strict, fast] = typeof pair === "string" ? [] : pair;

/** Fills what workgroup memory a dispatch may have with NaN. */
const POISON = joinKernel("poison", [`
override WORDS: u32;
var<workgroup> junk: array<u32, WORDS>;
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {
  for (var i = lane; i < WORDS; i += 64u) { junk[i] = 0x7fc00000u; }
  workgroupBarrier();
  if (junk[(lane * 97u) % WORDS] == 0x7fc00000u) { y[0] = 1u; }
}`]);

async function poison({ gpu }: Device): Promise<void> {
  const y = empty(gpu!, 4);
  const words = gpu!.device.limits.maxComputeWorkgroupStorageSize / 4;
  await run(gpu!, POISON, { constants: { WORDS: words }, buffers: [y], workgroups: 64 });
  await download(gpu!, y);
  y.destroy();
}

/** Runs the same on both devices and compares bits. */
async function sameBits(
  what: string,
  act: (device: Device) => Promise<Float32Array>,
): Promise<void> {
  const [a, b] = [await act(strict!), await poison(fast!).then(() => act(fast!))];
  const bits = (y: Float32Array) => new Uint32Array(y.slice().buffer);
  assert.deepEqual(bits(b), bits(a), what);
}

testUnless(absent, "a fast device says that it is one, and nothing of a fall-back", () => {
  assert.deepEqual([strict!.fast, fast!.fast, lines], [false, true, []]);
  assert.equal(fast!.adapter, strict!.adapter);
  assert.equal(deviceText(fast!), `${strict!.adapter} by webgpu, fast`);
  assert.equal(deviceText(strict!), `${strict!.adapter} by webgpu`);
  assert.equal(deviceFacts(fast!).fast, true);
});

test("the commands that open a device have --fast", async () => {
  const text = ["--text", "/nowhere"];
  const commands = [
    ["check", "/nowhere"],
    ["generate", "/nowhere", "--prompt", "x"],
    ["eval", "/nowhere", ...text],
    ["compare", "/nowhere", "/nowhere", ...text],
  ];
  for (const args of commands) assert.equal((await afpq([...args, "--fast"])).code, 1, args[0]);
  assert.equal((await afpq(["inspect", "/nowhere", "--fast"])).code, 2);
});

for (const [i, kind] of KINDS.entries()) {
  const claim = `products with ${kind} have the same bits on strict and fast device`;
  testUnless(absent, claim, async () => {
    const [rows, cols, group] = SHAPES[i % SHAPES.length];
    const q = weights(rows, cols, kind, group);
    const bias = new Float32Array(rows).fill(0.5);
    await sameBits("matvec", (device) => linear.matvec(device, q, tokens(1, cols)));
    if (i % 2 === 1) return await sameBits("dequantise", (on) => linear.dequantise(on, q));
    for (const batch of [3, 17]) {
      const x = tokens(batch, cols);
      await sameBits(`${batch} tokens`, (on) => linear.matmul(on, q, x, batch, { bias }));
    }
  });
}

testUnless(
  absent,
  "products of every batch have the same bits on strict and fast device",
  async () => {
    const q = weights(33, 1000, "nf3-asym", 16);
    await sameBits("batch 2", (device) => linear.matvec(device, q, tokens(2, q.cols)));
    for (const batch of [2, 5, 8, 16, 33, 65]) {
      const x = tokens(batch, q.cols);
      await sameBits(`batch ${batch}`, (device) => linear.matmul(device, q, x, batch));
    }
  },
);

testUnless(absent, "dense products have the same bits on strict and fast device", async () => {
  for (const [i, dtype] of (["F32", "F16", "BF16", "F16"] as const).entries()) {
    const [rows, cols] = SHAPES[i];
    const w = denseWeights(rows, cols, dtype);
    const what = `${dtype} [${rows}, ${cols}]`;
    await sameBits(what, (device) => linear.denseMatvec(device, w, tokens(2, cols)));
    for (const batch of [3, 19]) {
      await sameBits(what, (device) => linear.denseMatmul(device, w, tokens(batch, cols), batch));
    }
  }
});

testUnless(
  absent,
  "a GPU's kernels have the same bits on strict and fast device, few rows in parts as well",
  async () => {
    for (const [kind, batches] of [["fp4-asym", [3, 40]], ["nf3-asym", [40]]] as const) {
      const q = weights(5, 93, kind, 32);
      await sameBits(kind, (device) => linear.matvec(asGpu(device), q, tokens(1, 93)));
      for (const batch of batches) {
        const x = tokens(batch, 93);
        await sameBits(`${batch} tokens`, (on) => linear.matmul(asGpu(on), q, x, batch));
      }
    }
    const long = weights(12, 8232, "nf4-sym", 64);
    await sameBits("parts", (device) => linear.matvec(asGpu(device), long, tokens(1, 8232)));
  },
);

testUnless(
  absent,
  "so have a GPU's kernels for dense weights, and those of fast accuracy",
  async () => {
    const w = denseWeights(33, 93, "F16");
    await sameBits("f16", (device) => linear.denseMatvec(asGpu(device), w, tokens(2, 93)));
    for (const batch of [3, 40]) {
      const x = tokens(batch, 93);
      await sameBits("f16", (device) => linear.denseMatmul(asGpu(device), w, x, batch));
    }
    const q = weights(33, 1000, "fp4-asym", 16);
    const able = [
      ...(await halfTest(strict!.gpu!).then(() => [asFast], () => [])),
      ...(await byteTest(strict!.gpu!).then(() => [asBytes], () => [])),
    ];
    for (const as of able) {
      await sameBits(as.name, (device) => linear.matvec(as(asGpu(device)), q, tokens(2, 1000)));
    }
  },
);

/** The same logits and losses of a small model, with kernels for a CPU or a GPU. */
const modelAgrees = (as: (device: Device) => Device) => () =>
  inFolder(async (_, folder) => {
    const config = { ...CONFIGS["qwen3, q and k norms"], num_hidden_layers: 1 };
    await writeModel(folder, config, madeWeights(config, 3));
    await sameBits("logits and losses", async (device) => {
      const model = await loadModel(as(device), folder, { head: "nf4-asym" });
      const prompt = await model.logits([5, 17, 99, 4, 8, 15, 16]);
      await poison(device);
      const next = await model.logits([23]);
      const losses = await model.losses([3, 1, 4, 1, 5, 9, 2, 6]);
      model.close();
      return Float32Array.of(...prompt, ...next, ...losses);
    });
  });

testUnless(
  absent,
  "a model has the same logits on strict and fast device",
  modelAgrees((on) => on),
);

testUnless(
  absent ?? repeated,
  "a model has the same logits on strict and fast device by a GPU's kernels",
  modelAgrees(asGpu),
);

test("what takes no toggles opens plain, and says so in one line", async () => {
  const binding = "Deno" in globalThis ? "deno" : "bun-webgpu";
  const said: string[] = [];
  const options = { binding, fast: true, log: (line: string) => void said.push(line) } as const;
  const device = await openDevice(options).catch(() => null);
  if (!device) return; // no adapter there: nothing to fall back to
  assert.equal(device.fast, false);
  assert.deepEqual(said, [
    `No fast device (Binding "${binding}" takes no toggles: only "webgpu" does): ` +
    "a plain one does the work",
  ]);
  device.close();
});

test("the TypeScript backend is never fast, and says nothing", async () => {
  const said: string[] = [];
  const log = (line: string) => void said.push(line);
  const device = await openDevice({ binding: "cpu", fast: true, log });
  assert.deepEqual([device.fast, said], [false, []]);
});
