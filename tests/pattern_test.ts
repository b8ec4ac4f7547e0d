/** Claims about lib/pattern.ts: it finds what the runtime's own engine finds, within its budget. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { compilePattern, stepsFor } from "../lib/pattern.ts";
import { uniform } from "./random.ts";
import { testUnless } from "./test_unless.ts";

function matches(pattern: string, text: string): string[] {
  const found = compilePattern(pattern, { steps: stepsFor(text.length) })(text);
  return found.map(([begin, end]) => text.slice(begin, end));
}

const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const LLAMA3 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" +
  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

test("LLaMA-3's pattern splits words, numbers by three, punctuation and blanks", () => {
  assert.deepEqual(matches(LLAMA3, "I'LL pay 12345 €,  ok?\n\n\tEnd "), [
    ...["I", "'LL", " pay", " ", "123", "45", " €,", " ", " ok", "?\n\n", "\tEnd", " "],
  ]);
});

/** Each: pattern, text, what is found. Worked out by hand. */
const cases: [string, string, string[]][] = [
  ["a|ab", "abab", ["a", "a"]],
  ["(?:a|ab)c", "abc", ["abc"]],
  ["a++a", "aaa", []],
  ["(?>a|ab)c", "abc", []],
  ["a+?", "aaa", ["a", "a", "a"]],
  ["(?:ab)*?c", "ababc", ["ababc"]],
  ["(?:ab){2}", "ababab", ["abab"]],
  ["(?:a*)*b", "aab", ["aab"]],
  ["(?:a?){3}b", "aab", ["aab"]],
  ["^b", "a\nb", ["b"]],
  ["a$", "a\nb", ["a"]],
  ["a.", "a\nab", ["ab"]],
  ["(?m:a.)", "a\nab", ["a\n", "ab"]],
  ["(?<=a)b", "abb", ["b"]],
  ["(?<!a)b", "abb", ["b"]],
  ["(?<=ab|c)d", "abd cd d", ["d", "d"]],
  ["\\bcat\\b", "cat scatter cat", ["cat", "cat"]],
  ["\\Aa|b\\z", "aab", ["a", "b"]],
  ["(?i:straße)", "STRASSE Straße", ["Straße"]],
  [".", "a😀b", ["a", "😀", "b"]],
  ["[^a]", "a😀b", ["😀", "b"]],
  ["\\p{Han}+", "汉字kana", ["汉字"]],
  ["[\\p{L}&&[^a-z]]+", "abCDe", ["CD"]],
];

for (const [pattern, text, found] of cases) {
  test(`/${pattern}/ in ${JSON.stringify(text)} finds ${found.length} matches`, () => {
    assert.deepEqual(matches(pattern, text), found);
  });
}

/** A random pattern that both engines read in the same way. */
function randomPattern(next: () => number, depth = 3): string {
  const pick = (options: string[]) => options[Math.floor(next() * options.length)];
  const item = (): string => {
    if (depth === 0 || next() < 0.6) return pick(["a", "b", "c", "[ab]", "[^a]", "\\p{L}", "\\bc"]);
    const open = pick(["(?:", "(", "(?=", "(?!", "(?<=a|", "(?<!b|"]);
    return `${open}${open.startsWith("(?<") ? "c" : randomPattern(next, depth - 1)})`;
  };
  const items = Array.from({ length: 1 + Math.floor(next() * 3) }, () => {
    const one = item();
    // Repeats of what can match nothing are left out: Oniguruma ends them, JavaScript tries on
    const bare = one.startsWith("(") ? /[*?]|\\b/.test(one.replaceAll("(?:", "")) : one === "\\bc";
    return bare ? one : one + pick(["", "", "", "*", "+", "?", "*?", "+?", "{1,2}"]);
  });
  return next() < 0.3 ? `${items.join("")}|${randomPattern(next, depth - 1)}` : items.join("");
}

test("2,000 random patterns find what the runtime's own engine finds", () => {
  const next = uniform(7);
  for (let round = 0; round < 2000; round++) {
    const pattern = randomPattern(next);
    const text = Array.from({ length: 10 }, () => "abc é"[Math.floor(next() * 5)]).join("");
    const found = [...text.matchAll(new RegExp(pattern.replaceAll("\\b", WORD_EDGE), "gu"))];
    assert.deepEqual(matches(pattern, text), found.map(([match]) => match), `${pattern} ${text}`);
  }
});

const WORD_EDGE = "(?:(?<=\\p{L})(?!\\p{L})|(?<!\\p{L})(?=\\p{L}))";

const wikitext = new URL("../../shared/text/wikitext2.test.raw", import.meta.url);
testUnless(
  existsSync(wikitext) ? null : "no ../shared/text",
  "GPT-2's pattern splits WikiText-2 as the runtime's own engine does, in 10 steps a character",
  () => {
    const text = readFileSync(wikitext, "utf8");
    const budget = { steps: 10 * text.length };
    const found = compilePattern(GPT2, budget)(text).map(([begin, end]) => text.slice(begin, end));
    const native = new RegExp(GPT2.replaceAll("\\s", "\\p{White_Space}"), "gu");
    assert.deepEqual(found, text.match(native));
  },
);

/** Patterns that take the runtime's own engine hours, or all the stack. */
const bombs: [string, string][] = [
  ["(a+)+$", `${"a".repeat(60)}!`],
  ["(a|aa)+$", `${"a".repeat(100)}!`],
  ["(?:a|a)*b", "a".repeat(100)],
  ["(?:(?:){1000}){1000}b", "a".repeat(3000)],
  [`${"(?:|)".repeat(60)}(?!)`, "a".repeat(10)],
  ["\\s*\\s*\\s*\\s*\\s*x", " ".repeat(1000)],
  ["a+b", "a".repeat(200_000)],
  ["(?:ab)+", "ab".repeat(100_000)],
  ["(?=(a+)+$)b", `${"a".repeat(60)}!`],
  [`${"(?:".repeat(30)}a${")+".repeat(30)}b`, "a".repeat(5000)],
];

for (const [pattern, text] of bombs) {
  test(`/${pattern.slice(0, 24)}/ on ${text.length} characters is refused, not endured`, () => {
    const start = performance.now();
    assert.throws(() => matches(pattern, text), {
      name: "RangeError",
      message: /^Cannot match the regular expression ".+" as it must .+: got more$/,
    });
    assert.ok(performance.now() - start < 10_000);
  });
}

test("a pattern of 9,999 letters, and a run of a million blanks, are no trouble", () => {
  assert.equal(matches("a".repeat(9999), "a".repeat(9999)).length, 1);
  assert.equal(matches(LLAMA3, " ".repeat(1_000_000)).length, 1);
});

test("20,000 random texts are patterns or refused in one line, and none is endured", () => {
  const next = uniform(17);
  const signs = [
    "a",
    "b",
    "-",
    "[",
    "]",
    "^",
    "(",
    ")",
    "(?:",
    "(?i)",
    "(?<=",
    "(?!",
    "{1,2}",
    "*",
  ];
  signs.push("+", "?", "|", ".", "$", "\\s", "\\p{L}", "\\P{Lu}", "&&", "[:alpha:]", "\\x61", "\\");
  const text = "ab -A\n[]";
  for (let round = 0; round < 20_000; round++) {
    const count = 1 + Math.floor(next() * 10);
    const pattern = Array.from({ length: count }, () => signs[Math.floor(next() * signs.length)]);
    try {
      const end = compilePattern(pattern.join(""), { steps: 1_000_000 })(text).at(-1)?.[1] ?? 0;
      assert.ok(end <= text.length);
    } catch (error) {
      assert.match((error as Error).message, /^Cannot (read|match) (a|the) regular expression .*$/);
    }
  }
});
