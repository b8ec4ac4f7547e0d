import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { npmPins } from "../lib/npm.ts";
import { lib, runChild } from "./child_process.ts";

test("npmPins are the packages and versions of package.json", () => {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  assert.deepEqual(
    Object.entries(npmPins).sort(),
    Object.entries({ ...manifest.dependencies, ...manifest.optionalDependencies }).sort(),
  );
});

test("a package that cannot be had is said in one line", async () => {
  const code = `import { loadNpm } from "${lib}npm.ts";
    await loadNpm("no-such-package-of-ours").catch(({ message }) => console.log(message));`;
  const { stdout } = await runChild(code, { bunFlags: ["--no-install"] });
  assert.match(stdout, /^Cannot load npm package "no-such-package-of-ours": \S.*\n$/);
});
