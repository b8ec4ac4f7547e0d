/** Claims about lib/pattern_syntax.ts: what is read, and what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePattern } from "../lib/pattern_syntax.ts";

const set = (source: string, ignoreCase = false) => ({ type: "set", source, ignoreCase });

test("a word is a sequence of sets of one character", () => {
  assert.deepEqual(parsePattern("it"), {
    type: "sequence",
    items: [set("[\\u{69}]"), set("[\\u{74}]")],
  });
});

test("quantifiers are greedy, lazy or possessive, and repeat one item", () => {
  const kinds = { "x+": "greedy", "x*?": "lazy", "x?+": "possessive", "x{2,3}": "greedy" };
  for (const [text, kind] of Object.entries(kinds)) {
    const pattern = parsePattern(text);
    assert.ok(pattern.type === "repeat");
    assert.equal(pattern.kind, kind, text);
    assert.deepEqual(pattern.item, set("[\\u{78}]"));
  }
});

test("x{1,3}+ repeats x{1,3}, as Oniguruma has it", () => {
  const pattern = parsePattern("x{1,3}+");
  assert.ok(pattern.type === "repeat" && pattern.item.type === "repeat");
  assert.deepEqual([pattern.min, pattern.max, pattern.kind], [1, Infinity, "greedy"]);
  assert.deepEqual([pattern.item.min, pattern.item.max], [1, 3]);
});

test("(?i) holds to the end of its group", () => {
  assert.deepEqual(parsePattern("(?:(?i)a)b"), {
    type: "sequence",
    items: [set("[\\u{61}]", true), set("[\\u{62}]")],
  });
  assert.deepEqual(parsePattern("(?i:a)(?-i:b)"), parsePattern("(?:(?i)a)b"));
});

const sets: Record<string, string> = {
  "[a-c]": "[\\u{61}-\\u{63}]",
  "[^\\s\\p{L}]": "[^\\p{White_Space}\\p{L}]",
  "[a-]": "[\\u{61}\\u{2d}]",
  "[]a]": "[\\u{5d}\\u{61}]",
  "[a&&[^b]]": "[[\\u{61}]&&[[^\\u{62}]]]",
  "[[:digit:]_]": "[\\p{Nd}\\u{5f}]",
  "\\p{^Lu}": "[[^\\p{Lu}]]",
  "\\p{Han}": "[\\p{Script=Han}]",
  "\\x41\\x{1F600}\\u0042": "[\\u{41}] [\\u{1f600}] [\\u{42}]",
  "\\n\\.": "[\\u{a}] [\\u{2e}]",
};

for (const [text, source] of Object.entries(sets)) {
  test(`${text} is ${source}`, () => {
    const pattern = parsePattern(text);
    const items = pattern.type === "sequence" ? pattern.items : [pattern];
    assert.equal(items.map((item) => item.type === "set" && item.source).join(" "), source);
  });
}

const refused: Record<string, RegExp> = {
  "(a": /must close its groups: got its end at character 2$/,
  "a)": /must open its groups before "\)"/,
  "[a": /must close its sets/,
  "*a": /must repeat something: got "\*"/,
  "(a)\\1": /must have escapes it knows: got \\1/,
  "\\k<a>": /escapes it knows/,
  "\\R": /escapes it knows/,
  "\\p{Nonsense}": /must name properties of Unicode: got "Nonsense"/,
  "(?x:a)": /flags i and m alone: got "x"/,
  "(?(1)a)": /must have groups it knows/,
  "[b-a]": /ranges that go up/,
  "a{5000}": /must repeat 0 to 1000 times/,
  "a{3,2}": /upwards/,
  "a*****": /must repeat an item 4 times over/,
  "\\": /must end after an item/,
  ["(".repeat(200)]: /must nest at most 100 deep/,
  ["[".repeat(200)]: /must nest at most 100 deep/,
  ["a".repeat(10_001)]: /must have at most 10000 characters: got 10001/,
};

for (const [text, message] of Object.entries(refused)) {
  test(`${text.slice(0, 12)} is refused`, () => {
    assert.throws(() => parsePattern(text), (error: Error) => {
      assert.ok(error instanceof SyntaxError);
      assert.match(error.message, message);
      return !error.message.includes("\n");
    });
  });
}
