import assert from "node:assert/strict";
import { test } from "node:test";
import process from "node:process";
import { permitted, readEnvironment } from "../lib/permission.ts";
import { lib, runChild } from "./child_process.ts";
import { testUnless } from "./test_unless.ts";

test("permitted() and readEnvironment() see what is allowed", () => {
  assert.equal(permitted({ name: "ffi" }), true);
  assert.equal(readEnvironment("PATH"), process.env.PATH);
  assert.equal(readEnvironment("AFPQ_NO_SUCH_VARIABLE"), undefined);
});

const onlyDeno = "Deno" in globalThis ? null : "Bun has no permissions";
testUnless(onlyDeno, "without permissions they say no, and neither prompt nor throw", async () => {
  const code = `import { permitted, readEnvironment } from "${lib}permission.ts";
    console.log(permitted({ name: "ffi" }), readEnvironment("PATH"));`;
  const { code: status, stdout, stderr } = await runChild(code, { denoFlags: [] });
  assert.deepEqual([status, stdout, stderr], [0, "false undefined\n", ""]);
});
