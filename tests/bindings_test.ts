import assert from "node:assert/strict";
import { test } from "node:test";
import { dawnSources, findAdapter } from "../lib/bindings.ts";
import { cannotHide, lib, runChild } from "./child_process.ts";
import { gpuTest } from "./gpu_devices.ts";
import { testUnless } from "./test_unless.ts";

const foreign = "Deno" in globalThis ? "bun-webgpu" : "deno";

/** Prints the reason why a binding has no adapter, or the adapter's name. */
const find = (source: string) =>
  `import { findAdapter } from "${lib}bindings.ts";
   console.log(await findAdapter("${source}").then(({ name }) => name, ({ message }) => message));`;

test(`binding "${foreign}" belongs to the other runtime, and says so`, async () => {
  await assert.rejects(
    findAdapter(foreign),
    new RegExp(`^Error: Binding "${foreign}" .*(Bun|Deno)$`),
  );
});

gpuTest("an adapter has a name and a backend", (_, { adapter, backend }) => {
  assert.match(adapter, /\w/);
  assert.match(backend, /^(vulkan|metal|d3d12|gl)$/);
  return Promise.resolve();
});

for (const source of dawnSources) {
  test(`"${source}" without a driver is no adapter, in one line, and prints nothing`, async () => {
    const env = { VK_ICD_FILENAMES: "/dev/null", VK_DRIVER_FILES: "/dev/null" };
    const { code, stdout, stderr } = await runChild(find(source), { env });
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout, /^(Binding "[\w-]+" found no adapter.*|Cannot load npm package .*)\n$/);
  });

  testUnless(
    cannotHide,
    `"${source}" without the Vulkan loader is no adapter, in one line`,
    async () => {
      const { code, stdout } = await runChild(find(source), { hideVulkan: true });
      assert.equal(code, 0);
      assert.match(stdout, /^(Binding "[\w-]+" found no adapter.*|Cannot load npm package .*)\n$/);
    },
  );
}

const onlyDeno = "Deno" in globalThis ? null : "Bun has no permissions";
testUnless(onlyDeno, '"webgpu" without --allow-ffi says so, and does not prompt', async () => {
  const { code, stdout, stderr } = await runChild(find("webgpu"), { denoFlags: [] });
  assert.deepEqual([code, stdout, stderr], [0, 'Binding "webgpu" needs --allow-ffi\n', ""]);
});
