import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { npmPins } from "../lib/npm.ts";
import { lib, runChild } from "./child_process.ts";

/** What `bench/peers.ts` alone asks for: 360 MB that nobody else should install. */
const UNLISTED = ["@node-llama-cpp/linux-x64-vulkan", "onnxruntime-node"];

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

test("a package that cannot be had is said in one line", async () => {
  const code = `import { loadNpm } from "${lib}npm.ts";
    await loadNpm("no-such-package-of-ours").catch(({ message }) => console.log(message));`;
  const { stdout } = await runChild(code, { bunFlags: ["--no-install"] });
  assert.match(stdout, /^Cannot load npm package "no-such-package-of-ours": \S.*\n$/);
});
