import assert from "node:assert/strict";
import { test } from "node:test";
import { limitsOf } from "../lib/bindings.ts";
import { openDevice } from "../lib/device.ts";
import { download, upload } from "../lib/launch.ts";
import { cannotHide, lib, runChild } from "./child_process.ts";
import { gpuTest, openTarget, present } from "./gpu_devices.ts";
import { testUnless } from "./test_unless.ts";

/** Opens the default device, says which on stdout and what it logs on stderr. */
const OPEN_DEFAULT = `import { openDevice } from "${lib}device.ts";
  const device = await openDevice({ fetch: false, log: (line) => console.error(line) });
  console.log(device.binding, device.backend, device.gpu !== null);
  device.close();`;
const NO_DRIVERS = { VK_ICD_FILENAMES: "/dev/null", VK_DRIVER_FILES: "/dev/null" };

test('openDevice() with "cpu" is the TypeScript backend', async () => {
  const device = await openDevice({ binding: "cpu" });
  assert.deepEqual([device.binding, device.backend, device.gpu], ["cpu", "typescript", null]);
  device.close();
});

test("openDevice() refuses a binding that there is not, naming those that are", async () => {
  await assert.rejects(openDevice({ binding: "metal" as "cpu" }), {
    name: "RangeError",
    message: "Cannot open a device as binding must be " +
      '"webgpu", "bun-webgpu", "deno", "software", "cpu": got "metal"',
  });
});

test("openDevice() with a binding that is absent is refused in one line, not replaced", async () => {
  const absent = "Deno" in globalThis ? "bun-webgpu" : "deno";
  await assert.rejects(openDevice({ binding: absent }), /^Error: Cannot open a device: .*$/);
});

gpuTest("a device has all that its adapter has", (gpu) => {
  const limits = limitsOf(gpu.device);
  assert.ok(limits.maxBufferSize > 256 * 2 ** 20, `maxBufferSize ${limits.maxBufferSize}`);
  assert.ok(limits.maxComputeInvocationsPerWorkgroup >= 256);
  assert.ok(Object.values(limits).every((limit) => limit >= 0));
  return Promise.resolve();
});

for (const { name } of present) {
  test(`closing a device leaves others alone, on ${name}`, async () => {
    const [one, other] = [await openTarget(name), await openTarget(name)];
    const ones = await upload(one.gpu!, Float32Array.of(1, 2));
    const others = await upload(other.gpu!, Float32Array.of(3, 4));
    one.close();
    await assert.rejects(download(one.gpu!, ones), /^Error: The device is closed$/);
    assert.deepEqual([...await download(other.gpu!, others)], [3, 4]);
    other.close();
  });
}

test("openDevice() opens several at once", async () => {
  const devices = await Promise.all([1, 2, 3].map(() => openDevice({ fetch: false })));
  for (const device of devices) device.close();
  assert.equal(new Set(devices.map(({ adapter }) => adapter)).size, 1);
});

test("the default device prints nothing of its binding's", async () => {
  const { code, stdout, stderr } = await runChild(OPEN_DEFAULT);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^\S+ \S+ (true|false)\n$/);
  assert.match(stderr, /^(No GPU .*\n)?$/);
});

test("without a driver the default is still a device, and says what it is", async () => {
  const { code, stdout, stderr } = await runChild(OPEN_DEFAULT, { env: NO_DRIVERS });
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^(software vulkan true|deno gl true|cpu typescript false)\n$/);
  assert.match(stderr, /^(No GPU .*\n)?$/);
});

testUnless(
  cannotHide,
  "without the Vulkan loader and a cache the TypeScript backend runs",
  async () => {
    const code = `import { openDevice } from "${lib}device.ts";
    ${
      "Deno" in globalThis
        ? 'Object.defineProperty(navigator.gpu, "requestAdapter", { value: async () => null });'
        : ""
    }
    const device = await openDevice({ fetch: false, log: (line) => console.log(line) });
    console.log(device.binding);`;
    const env = { XDG_CACHE_HOME: "/nowhere" };
    const ended = await runChild(code, { env, hideVulkan: true });
    assert.deepEqual([ended.code, ended.stderr], [0, ""]);
    assert.match(ended.stdout, /^No GPU \(.+\): the TypeScript backend does the work\ncpu\n$/);
  },
);

test("garbage collection takes nothing that a device needs", async () => {
  const code = `import { openDevice } from "${lib}device.ts";
    import { download, upload } from "${lib}launch.ts";
    const collect = () => "Bun" in globalThis ? Bun.gc(true) : gc();
    const device = await openDevice({ fetch: false });
    for (let i = 0; i < 20 && device.gpu; i++) {
      collect();
      const buffer = await upload(device.gpu, new Float32Array(1000).fill(i));
      collect();
      const values = await download(device.gpu, buffer);
      if (values[999] !== i) throw new Error("wrong");
      collect();
    }
    console.log("alive");`;
  const denoFlags = ["-A", "--v8-flags=--expose-gc"];
  const { code: status, stdout, stderr } = await runChild(code, { denoFlags });
  assert.deepEqual([status, stdout], [0, "alive\n"], stderr);
});

const noBunWebgpu = present.some(({ name }) => name === "bun-webgpu")
  ? null
  : "bun-webgpu works in Bun alone";

/** A collection at nearly every allocation: without holdCalls() nine openings of ten fail, or crash. */
testUnless(noBunWebgpu, "collecting in the middle of bun-webgpu's calls harms none", async () => {
  const code = `import { openDevice } from "${lib}device.ts";
    for (let i = 0; i < 5; i++) (await openDevice({ binding: "bun-webgpu" })).close();
    console.log("alive");
    process.exit();`;
  const env = { BUN_JSC_slowPathAllocsBetweenGCs: "20" };
  const { code: status, stdout, stderr } = await runChild(code, { env });
  assert.deepEqual([status, stdout], [0, "alive\n"], stderr);
});

test("a process ends by itself with a device open, and with its own exit code", async () => {
  const code = `import { openDevice } from "${lib}device.ts";
    import process from "node:process";
    await openDevice({ fetch: false });
    process.exitCode = 7;`;
  assert.equal((await runChild(code)).code, 7);
});
