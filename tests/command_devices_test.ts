import assert from "node:assert/strict";
import { test } from "node:test";
import { type DeviceRow, devices } from "../lib/command_devices.ts";
import { cannotHide, lib, runChild } from "./child_process.ts";
import { testUnless } from "./test_unless.ts";

const FIELDS = "binding,adapter,backend,software,features,limits,selfTest,reason".split(",");
const LIST = `import { devices } from "${lib}command_devices.ts";
  console.log(JSON.stringify(await devices()));`;

function assertRows(rows: DeviceRow[]): void {
  assert.deepEqual(
    rows.map(({ binding }) => binding),
    ["webgpu", "bun-webgpu", "deno", "software", "cpu"],
  );
  for (const row of rows) {
    assert.deepEqual(Object.keys(row), FIELDS);
    assert.equal(row.reason === null, row.adapter !== null && row.selfTest !== "failed");
    if (row.reason !== null) assert.doesNotMatch(row.reason, /\n|^Cannot open/);
    if (row.selfTest === "passed") assert.ok(row.limits.maxBufferSize > 0);
  }
}

test("devices() has a row for each binding: a device, or the reason why not", async () => {
  assertRows(await devices());
});

test("devices() finds the TypeScript backend everywhere", async () => {
  assert.deepEqual((await devices()).at(-1), {
    binding: "cpu",
    adapter: "TypeScript",
    backend: "typescript",
    software: true,
    features: [],
    limits: {},
    selfTest: null,
    reason: null,
  });
});

testUnless(
  cannotHide,
  "devices() lists a machine without Vulkan, downloading nothing",
  async () => {
    const options = { env: { XDG_CACHE_HOME: "/nowhere" }, hideVulkan: true };
    const { code, stdout, stderr } = await runChild(LIST, options);
    assert.deepEqual([code, stderr], [0, ""]);
    const rows: DeviceRow[] = JSON.parse(stdout);
    assertRows(rows);
    assert.match(rows[3].reason!, /embedded software GPU/);
  },
);
