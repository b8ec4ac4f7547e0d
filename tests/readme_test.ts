import { test } from "node:test";
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { npmPins } from "../lib/npm.ts";

const root = new URL("../", import.meta.url);
const readme = readFileSync(new URL("README.md", root), "utf8");
const manifest = JSON.parse(readFileSync(new URL("package.json", root), "utf8"));
const deno = JSON.parse(readFileSync(new URL("deno.json", root), "utf8"));

/** Paths of the tree in the README: two spaces deeper is one folder deeper; no tree below a `*` folder. */
function treePaths(): string[] {
  const [, tree] = /<!-- tree -->\s*```\n([\s\S]*?)```/.exec(readme) ?? [];
  const folders: string[] = [];
  return tree.split("\n").filter((line) => line.trim()).flatMap((line) => {
    const [, indent, names] = /^( *)([^\s,]+(?:, [^\s,]+)*)/.exec(line)!;
    folders.length = indent.length / 2;
    const paths = names.split(", ").map((name) => folders.join("") + name);
    if (names.endsWith("/")) folders.push(names);
    return paths;
  });
}

/** What is really there, as the README should have it: tests of a module, and what data folders hold, left out. */
function realPaths(): string[] {
  const listed = [
    ...["", "kernels/", "kernels/parts/", "lib/", "examples/", "bench/", "bench/isa/", "tests/"],
  ];
  const own = new Set(
    readdirSync(new URL("lib", root)).map((name) => name.replace(".ts", "_test.ts")),
  );
  const found = listed.flatMap((folder) =>
    readdirSync(new URL(`./${folder}`, root), { withFileTypes: true })
      .filter(({ name }) => folder !== "tests/" || !own.has(name))
      .map((entry) => folder + entry.name + (entry.isDirectory() ? "/" : ""))
  );
  const apart = [".git", ".git/", ".ci/", "node_modules/", "out/", "README.md"];
  return [...found.filter((path) => !apart.includes(path)), ".ci/run"];
}

test("the README's tree has every file, one line each, and no other", () => {
  assert.deepEqual(treePaths().sort(), realPaths().sort());
});

test("the README's dependency table has every package at its version, and no other", () => {
  const table = [...readme.matchAll(/^\| ([@\w/-]+) +\| (\d[\w.]*) +\| /gm)].map(
    ([, name, version]) => {
      return [name, version];
    },
  );
  const { dependencies, optionalDependencies, devDependencies } = manifest;
  const wanted = { ...npmPins, ...dependencies, ...optionalDependencies, ...devDependencies };
  assert.deepEqual(Object.fromEntries(table), wanted);
});

test("every version in package.json is exact, and the package's own is deno.json's", () => {
  const { dependencies, optionalDependencies, devDependencies } = manifest;
  const versions = Object.values({ ...dependencies, ...optionalDependencies, ...devDependencies });
  assert.deepEqual(versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(String(version))), []);
  assert.equal(manifest.version, deno.version);
});

test("the tasks that the README names are there", () => {
  const named = [...readme.matchAll(/\bdeno(?:@[\d.]+)? task (\w+)/g)].map(([, task]) => task);
  assert.deepEqual([...new Set(named)].filter((task) => !(task in deno.tasks)), []);
});

test("the README shows weight errors that the golden test holds", () => {
  const golden = JSON.parse(readFileSync(new URL("tests/golden/tiny-llama.json", root), "utf8"));
  for (
    const [format, { relative_weight_mse }] of Object.entries<Record<string, number>>(
      golden.quantised.formats,
    )
  ) {
    const shown = new RegExp(`^${format} +[\\d.]+ +([\\d.]+)$`, "m").exec(readme)?.[1];
    assert.ok(Math.abs(Number(shown) / relative_weight_mse - 1) < 1e-3, `${format}: ${shown}`);
  }
});
