import assert from "node:assert/strict";
import { test } from "node:test";
import {
  download,
  empty,
  fold,
  type Gpu,
  joinKernel,
  prepare,
  run,
  submit,
  upload,
} from "../lib/launch.ts";
import { gpuTest } from "./gpu_devices.ts";

const ADD = joinKernel("add", [`
  override N: u32;
  override STEP: f32 = 1;
  @group(0) @binding(0) var<storage, read> x: array<f32>;
  @group(0) @binding(1) var<storage, read_write> y: array<f32>;
  @compute @workgroup_size(1)
  fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.y * count.x + id.x;
    if (i < N) { y[i] = x[i] + STEP; }
  }
`]);

/** x + 1 for x = 0, 1, ... n - 1 */
async function addOne(gpu: Gpu, n: number): Promise<Float32Array> {
  const x = await upload(gpu, Float32Array.from({ length: n }, (_, i) => i));
  const y = empty(gpu, 4 * n);
  await run(gpu, ADD, { constants: { N: n }, buffers: [x, y], workgroups: n });
  return await download(gpu, y);
}

test("joinKernel() moves each enable line to the front, once, and nothing else", () => {
  const { name, code } = joinKernel("k", [
    "// first\nenable f16;\nfn a() {}\n",
    "enable f16;\n  enable subgroups;\n// enable nothing;\nfn b() {}\n",
  ]);
  assert.equal(name, "k");
  assert.equal(
    code,
    "enable f16;\nenable subgroups;\n// first\nfn a() {}\n\n// enable nothing;\nfn b() {}\n",
  );
});

test("fold() keeps one axis while it is long enough, then shares rows evenly", () => {
  assert.deepEqual(fold(65535, 65535), [65535, 1]);
  assert.deepEqual(fold(65536, 65535), [32768, 2]);
  assert.deepEqual(fold(0, 65535), [0, 1]);
  assert.deepEqual(fold([3, 5], 65535), [3, 5]);
  assert.throws(() => fold(10, 3), RangeError);
});

gpuTest(
  "upload() and download() give the bytes back, whatever their type and number",
  async (gpu) => {
    const all = Uint8Array.from({ length: 64 }, (_, i) => 7 * i + 1);
    const shared = new Uint8Array(new SharedArrayBuffer(8));
    shared.set(all.subarray(0, 8));
    const views = [
      ...[1, 2, 3, 4, 5, 7, 8, 33].map((bytes) => all.subarray(1, 1 + bytes)),
      new Uint16Array(all.buffer, 2, 3),
      new Float16Array(all.buffer, 4, 5),
      new DataView(all.buffer, 8, 12),
      shared,
    ];
    for (const view of views) {
      const buffer = await upload(gpu, view);
      const got = new Uint8Array((await download(gpu, buffer)).buffer);
      const wanted = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      assert.deepEqual([...got.subarray(0, wanted.length)], [...wanted]);
      assert.ok(got.subarray(wanted.length).every((byte) => byte === 0));
      buffer.destroy();
    }
  },
);

gpuTest("upload() restores data longer than a chunk", async (gpu) => {
  const words = Uint32Array.from({ length: 5_000_003 }, (_, i) => i + 1);
  const buffer = await upload(gpu, words);
  const got = new Uint32Array((await download(gpu, buffer)).buffer);
  buffer.destroy();
  assert.equal(got.length, words.length);
  assert.equal(got.findIndex((word, i) => word !== words[i]), -1);
});

gpuTest("run() covers more workgroups than one axis holds", async (gpu) => {
  const n = gpu.device.limits.maxComputeWorkgroupsPerDimension + 2;
  const y = await addOne(gpu, n);
  assert.equal(y.length, n);
  assert.equal(y.findIndex((value, i) => value !== i + 1), -1);
});

gpuTest("run() compiles once for each set of constants", async (gpu) => {
  await addOne(gpu, 3);
  const pipelines = gpu.pipelines.get(ADD.code)!;
  const before = pipelines.size;
  await addOne(gpu, 3);
  assert.equal(pipelines.size, before);
  await addOne(gpu, 4);
  assert.equal(pipelines.size, before + 1);
});

gpuTest("submit() runs dispatches in order, each on what the last one wrote", async (gpu) => {
  const [a, b, c] = [await upload(gpu, Float32Array.of(1, 2)), empty(gpu, 8), empty(gpu, 8)];
  const step = (from: GPUBuffer, to: GPUBuffer) =>
    prepare(gpu, ADD, { constants: { N: 2, STEP: 10 }, buffers: [from, to], workgroups: 2 });
  await submit(gpu, [await step(a, b), await step(b, c)]);
  assert.deepEqual([...await download(gpu, c)], [21, 22]);
});

gpuTest("run() of no workgroups does nothing", async (gpu) => {
  const x = await upload(gpu, Float32Array.of(1));
  const y = await upload(gpu, Float32Array.of(5));
  await run(gpu, ADD, { constants: { N: 1 }, buffers: [x, y], workgroups: 0 });
  assert.deepEqual([...await download(gpu, y)], [5]);
});

gpuTest("run() takes parts of buffers", async (gpu) => {
  const x = await upload(gpu, Float32Array.from({ length: 128 }, (_, i) => i));
  const y = empty(gpu, 4);
  const part = { buffer: x, offset: 256, size: 256 };
  await run(gpu, ADD, { constants: { N: 1 }, buffers: [part, y], workgroups: 1 });
  assert.deepEqual([...await download(gpu, y)], [65]);
});

gpuTest("a compile error names kernel, constants, line and column", async (gpu) => {
  const broken = joinKernel("broken", ["@compute @workgroup_size(1)\nfn main() { let a = b; }\n"]);
  await assert.rejects(
    run(gpu, broken, { constants: { ROWS: 7 }, buffers: [], workgroups: 1 }),
    ({ message }: Error) => {
      assert.match(message, /^Cannot compile kernel "broken" \{"ROWS":7\}: /);
      assert.match(message, /2:2\d/);
      assert.doesNotMatch(message, /\n/);
      return true;
    },
  );
});

gpuTest("a constant left out is named", async (gpu) => {
  const y = empty(gpu, 4);
  await assert.rejects(
    run(gpu, ADD, { constants: {}, buffers: [y, y], workgroups: 1 }),
    /^Error: Cannot compile kernel "add" \{\}: .*\bN\b/,
  );
  await download(gpu, y).catch(() => {});
});

gpuTest("buffers that do not fit the kernel are refused by its name", async (gpu) => {
  const x = await upload(gpu, Float32Array.of(1));
  await assert.rejects(
    run(gpu, ADD, { constants: { N: 1 }, buffers: [x], workgroups: 1 }),
    /^Error: Cannot (bind the buffers of|run) kernel "add": /,
  );
});

gpuTest(
  "empty() of more than the device has is an error, at the latest of the download",
  async (gpu) => {
    const most = gpu.device.limits.maxBufferSize;
    const tooMuch = async () => await download(gpu, empty(gpu, most + 4), 4);
    await assert.rejects(tooMuch, /^Error: Cannot create a buffer of \d+ bytes: .*size/);
    const fine = await addOne(gpu, 2);
    assert.deepEqual([...fine], [1, 2]);
  },
);

gpuTest("download() refuses a result that no kernel wrote", async (gpu) => {
  await assert.rejects(download(gpu, empty(gpu, 64)), /dropped the work/);
});

/** The same device, but its n-th call of `method` does `fault` instead; counts calls in `calls`. */
function faulty(gpu: Gpu, method: string, n: number, fault: () => void): Gpu & { calls: number } {
  const wrap = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(_, key) {
        const value = target[key as keyof T] as unknown;
        if (key === "queue") return wrap(value as object);
        if (typeof value !== "function") return value;
        if (key === method) return (...args: unknown[]) => call(() => value.apply(target, args));
        return value.bind(target);
      },
    });
  const call = (act: () => unknown) => wrapped.calls++ === n ? fault() : act();
  const wrapped = { ...gpu, pipelines: new Map(), device: wrap(gpu.device), calls: 0 };
  return wrapped;
}

gpuTest("a dropped submission never looks like data", async (gpu) => {
  for (let n = 0, calls = 1; n < calls; n++) {
    const dropping = faulty(gpu, "submit", n, () => {});
    const y = await addOne(dropping, 2).catch(({ message }: Error) => message);
    calls = dropping.calls;
    if (typeof y === "string") assert.match(y, /dropped the work/);
    else assert.deepEqual([...y], [1, 2]);
    assert.ok(typeof y === "string" || (n > 0 && n < calls - 1), `submission ${n} must be missed`);
  }
});

gpuTest(
  "a call that throws, whichever, rejects in our words and leaves the device fine",
  async (gpu) => {
    for (const method of ["createBuffer", "createBindGroup", "createCommandEncoder", "submit"]) {
      for (let n = 0, calls = 1; n < calls; n++) {
        const throwing = faulty(gpu, method, n, () => {
          throw new Error("no");
        });
        await assert.rejects(addOne(throwing, 2), /^Error: Cannot .*: no$/);
        calls = Math.max(calls, throwing.calls);
        assert.deepEqual([...await addOne(gpu, 2)], [1, 2]);
      }
    }
  },
);
