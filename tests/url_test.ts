import { test } from "node:test";
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { present } from "./gpu_devices.ts";
import { testUnless } from "./test_unless.ts";

const root = new URL("../", import.meta.url);
/** Whether FFI alone gives a GPU. */
const onGpu = present.some(({ name }) => name === "webgpu");

const reason = "Deno" in globalThis ? null : "only Deno runs code from a URL";

/** Serves the checkout, every file as TypeScript, until disposed of; counts what it is asked for. */
async function serve() {
  const asked = new Map<string, number>();
  const server = createServer(async ({ url = "" }, response) => {
    asked.set(url, (asked.get(url) ?? 0) + 1);
    const content = /^\/(mod\.ts|(lib|kernels|examples)\/[\w./-]+)$/.test(url)
      ? await readFile(new URL(`.${url}`, root)).catch(() => null)
      : null;
    response.writeHead(content ? 200 : 404, { "content-type": "application/typescript" });
    response.end(content ?? undefined);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  return {
    asked,
    origin: `http://127.0.0.1:${port}`,
    [Symbol.dispose]: () => void server.close(),
  };
}

/** A cache of its own, so that each run begins with nothing of ours; npm packages are the user's. */
function freshCache() {
  const folder = mkdtempSync(join(tmpdir(), "afpq-url-"));
  const info = JSON.parse(execFileSync(process.execPath, ["info", "--json"], { encoding: "utf8" }));
  symlinkSync(info.npmCache, join(folder, "npm"));
  return { folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
}

/** What a file of examples/ prints, run from a URL with these flags alone. */
function runFrom(origin: string, cache: string, name: string, flags: string[]): Promise<string> {
  const child = spawn(
    process.execPath,
    ["run", "--no-prompt", ...flags, `${origin}/examples/${name}.ts`],
    { cwd: cache, env: { ...process.env, DENO_DIR: cache, NO_COLOR: "1" } },
  );
  let stdout = "", stderr = "";
  child.stdout.on("data", (bytes) => stdout += bytes);
  child.stderr.on("data", (bytes) => stderr += bytes);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => code === 0 ? resolve(stdout) : reject(new Error(stderr)));
  });
}

/** Each example with the flags its header asks for, and what it must print. */
const EXAMPLES: [name: string, flags: string[], prints: RegExp][] = [
  ["quickstart", [], /sum of squared errors: 0\.0019\d* with one scale, 0\.0001\d* with two/],
  ["formats", [], /nf4-asym +4\.25 +0\.0084/],
  ["matvec", ["--allow-ffi"], onGpu ? /worst output: 0\.\d+ of the bound/ : /worst output: 0 of/],
  ["matvec", [], /worst output: 0(\.\d+)? of the bound/],
  ["files", ["-A"], /one bit flipped: found/],
  ["generate", ["-A"], /\n60 tokens, \d+ a second on /],
];

for (const [name, flags, prints] of EXAMPLES) {
  const given = flags.length === 0 ? "no flag" : flags.join(" ");
  testUnless(reason, `examples/${name}.ts runs from a URL with ${given}`, async () => {
    using server = await serve();
    using cache = freshCache();
    assert.match(await runFrom(server.origin, cache.folder, name, flags), prints);
  });
}

testUnless(
  reason,
  "the demo runs from a URL with --allow-ffi, its model fetched once",
  async () => {
    using server = await serve();
    using cache = freshCache();
    for (const _ of ["from the server", "from the cache"]) {
      const told = await runFrom(server.origin, cache.folder, "demo", ["--allow-ffi"]);
      assert.match(told, /nf4-asym +4\.25 +0\.008501\n/);
      assert.match(told, /\ntook \d+ s\n/);
    }
    assert.equal(server.asked.get("/examples/tiny_llama.txt"), 1);
  },
);

test("the model that comes by URL is the shipped one", async () => {
  const { importedModel } = await import("../examples/tiny_llama.ts");
  const shipped = await readFile(new URL("examples/tiny-llama/model.safetensors", root));
  assert.ok(shipped.equals(await importedModel()));
});
