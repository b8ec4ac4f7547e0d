/** Claims about lib/glob.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { globMatcher } from "../lib/glob.ts";

const cases: [glob: string, name: string, matches: boolean][] = [
  ["", "", true],
  ["", "a", false],
  ["*", "", true],
  ["*", "a.b/c", true],
  ["a*", "ab.c", true],
  ["a*", "ba", false],
  ["*b", "abab", true],
  ["*b", "aba", false],
  ["a*b*c", "a-b-b-c", true],
  ["a*b*c", "a-c-b", false],
  ["a?c", "abc", true],
  ["a?c", "ac", false],
  ["a?c", "a\u{1f600}c", true],
  ["a.c", "abc", false],
  ["layers.[0-3].x", "layers.3.x", true],
  ["layers.[0-3].x", "layers.4.x", false],
  ["[!a-c]", "d", true],
  ["[!a-c]", "b", false],
  ["[abc-]", "-", true],
  ["[]x]", "]", true],
  ["[a", "[a", true],
  ["a]", "a]", true],
  ["[]", "[]", true],
  ["(a+)+$", "(a+)+$", true],
  ["\\d", "\\d", true],
  ["\\d", "5", false],
];

for (const [glob, name, matches] of cases) {
  test(`"${glob}" ${matches ? "matches" : "does not match"} "${name}"`, () => {
    assert.equal(globMatcher(glob)(name), matches);
  });
}

test("no glob takes more than length x length steps", () => {
  const start = performance.now();
  assert.equal(globMatcher("*a".repeat(200) + "b")("a".repeat(5000)), false);
  assert.ok(performance.now() - start < 2000);
});
