import { test } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readChoices, tuningKey, writeChoices } from "../lib/tuning_cache.ts";
import { inCacheFolder } from "./variables.ts";

test("choices come back for the device that they were made on, and add up", () =>
  inCacheFolder(async (folder) => {
    assert.deepEqual(await readChoices("one"), {});
    await writeChoices("one", { a: "x", b: "y" });
    await writeChoices("one", { b: "z" });
    await writeChoices("two", { a: "w" });
    assert.deepEqual(await readChoices("one"), { a: "x", b: "z" });
    assert.deepEqual(await readChoices("two"), { a: "w" });
    assert.deepEqual(readdirSync(folder), ["tuning.json"]);
  }));

test("a file that is odd means no choices, and is written anew", () =>
  inCacheFolder(async (folder) => {
    mkdirSync(folder);
    for (const text of ["", "{", "[1]", "null", '{"one": 3}', '{"one": {"a": 1}}']) {
      writeFileSync(join(folder, "tuning.json"), text);
      assert.deepEqual(await readChoices("one"), {}, text);
    }
    await writeChoices("one", { a: "x" });
    assert.deepEqual(await readChoices("one"), { a: "x" });
  }));

test("a folder that cannot be written is said in one line", () =>
  inCacheFolder(async (folder) => {
    writeFileSync(folder, "a file where the folder should be");
    await assert.rejects(
      writeChoices("one", { a: "x" }),
      /^Error: Cannot keep what tuning chose: /,
    );
  }));

test("another driver, variant or set of kernels is another key", () => {
  const device = { adapter: "GPU (driver 1)", backend: "vulkan", fast: false };
  const keys = [
    tuningKey(device, new Set()),
    tuningKey({ ...device, adapter: "GPU (driver 2)" }, new Set()),
    tuningKey({ ...device, fast: true }, new Set()),
    tuningKey(device, new Set(["subgroups"])),
  ];
  assert.equal(new Set(keys).size, keys.length);
});
