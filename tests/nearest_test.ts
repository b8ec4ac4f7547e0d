/** Claims about lib/nearest.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { editDistance, nearest } from "../lib/nearest.ts";

test("editDistance() counts letters added, dropped, changed and swapped", () => {
  const distances: [string, string, number][] = [
    ["", "", 0],
    ["", "abc", 3],
    ["verify", "verify", 0],
    ["verfy", "verify", 1],
    ["verrify", "verify", 1],
    ["verifi", "verify", 1],
    ["vreify", "verify", 1],
    ["kitten", "sitting", 3],
  ];
  for (const [a, b, edits] of distances) {
    assert.equal(editDistance(a, b), edits, `${a} -> ${b}`);
    assert.equal(editDistance(b, a), edits, `${b} -> ${a}`);
  }
});

test("nearest() ignores case, prefers the first of equals, and knows when there is nothing", () => {
  assert.equal(nearest("NF4-ASYN", ["int4-asym", "nf4-asym"]), "nf4-asym");
  assert.equal(nearest("x", ["a", "b"]), "a");
  assert.equal(nearest("x", []), undefined);
});

test("nearest() of a very long word takes no time worth naming", () => {
  const start = performance.now();
  nearest("a".repeat(1e6), ["quantize", "inspect"]);
  assert.ok(performance.now() - start < 500);
});
