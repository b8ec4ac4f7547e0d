import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { npmPins } from "../lib/npm.ts";
import { lib, runChild } from "./child_process.ts";

/** What `bench/peers.ts` alone asks for: 360 MB that nobody else should install. */
const UNLISTED = ["@node-llama-cpp/linux-x64-vulkan", "onnxruntime-node"];

/** What `deno task` should fetch for nobody else, as it fetches all of deno.lock. */
const MEASURED = [
  "@node-llama-cpp/linux-x64-vulkan",
  "@node-llama-cpp/linux-x64",
  "onnxruntime-node",
] as const;

test("npmPins are the packages and versions of package.json, and two large ones of a bench", () => {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  const listed = { ...manifest.dependencies, ...manifest.optionalDependencies };
  const pins = Object.entries(npmPins);
  assert.deepEqual(
    pins.filter(([name]) => !UNLISTED.includes(name)).sort(),
    Object.entries(listed).sort(),
  );
  const others = pins.map(([name]) => name).filter((name) => !(name in listed));
  assert.deepEqual(others.sort(), UNLISTED);
});

test("deno.lock has what users run, bench/deno.lock the same and what tests and benches ask for", () => {
  const [users, all] = ["deno.lock", "bench/deno.lock"].map((name) =>
    JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), "utf8"))
  );
  assert.deepEqual({ ...all.npm, ...users.npm }, all.npm);
  const more = Object.keys(all.specifiers).filter((name) => !(name in users.specifiers));
  assert.deepEqual(more, MEASURED.map((name) => `npm:${name}@${npmPins[name]}`));
});

test("a package that cannot be had is said in one line", async () => {
  const code = `import { loadNpm } from "${lib}npm.ts";
    await loadNpm("no-such-package-of-ours").catch(({ message }) => console.log(message));`;
  const { stdout } = await runChild(code, { bunFlags: ["--no-install"] });
  assert.match(stdout, /^Cannot load npm package "no-such-package-of-ours": \S.*\n$/);
});
