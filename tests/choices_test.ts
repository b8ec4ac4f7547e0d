/** Claims about lib/choices.ts: the prompts, to the letter, and every shape of file. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { type ChoiceItem, choiceItem, mmluItem, readChoices } from "../lib/choices.ts";
import type { Json } from "../lib/strict_json.ts";
import { inFolder } from "./made_checkpoints.ts";
import { pathOf } from "./made_tokenizers.ts";
import { testUnless } from "./test_unless.ts";

const question = { question: "1 + 1 = ?", choices: ["1", "2", "3", "4"], answer: 1 };
const example = { question: "2 + 2 = ?", choices: ["4", "5", "6", "7"], answer: 0 };

test("MMLU's prompt is that of Hendrycks et al.", () => {
  const { options, answer } = mmluItem("abstract_algebra", [example], question);
  assert.equal(
    options[2].context,
    "The following are multiple choice questions (with answers) about  abstract algebra.\n\n" +
      "2 + 2 = ?\nA. 4\nB. 5\nC. 6\nD. 7\nAnswer: A\n\n" +
      "1 + 1 = ?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:",
  );
  assert.deepEqual(options.map(({ continuation }) => continuation), [" A", " B", " C", " D"]);
  assert.equal(answer, 1);
});

test("shorter() takes the last worked example away, until none is left", () => {
  const five = mmluItem("x", [example, question, example, example, example], question);
  let [item, count]: [ChoiceItem | null, number] = [five, 0];
  for (; item !== null; item = item.shorter()) {
    assert.equal(item.options[0].context.split("Answer:").length - 2, 5 - count++);
  }
  assert.equal(count, 6);
});

const hellaswag = {
  activity_label: "Washing",
  ctx_a: "A man [substeps] wets.",
  ctx_b: "he Rubs",
  endings: [" in [title] soap", "sleeps"],
  label: "0",
};

/** Each: a line, and its contexts, continuations and answer. */
const shapes: [string, Json, [string, string][], number][] = [
  [
    "question and choices",
    { question: "Sky?", choices: ["red", "blue"], answer: 1 },
    [["Sky?", " red"], ["Sky?", " blue"]],
    1,
  ],
  [
    "context and endings, answered by a letter",
    { context: "It is ", endings: ["me", " you"], answer: "B" },
    [["It is", " me"], ["It is", " you"]],
    1,
  ],
  [
    "query, gold",
    { query: "Q", choices: ["a", "b"], gold: 0 },
    [["Q", " a"], ["Q", " b"]],
    0,
  ],
  [
    "an answer that is the choice",
    { question: "Q", choices: ["yes", "no"], answer: "no" },
    [["Q", " yes"], ["Q", " no"]],
    1,
  ],
  [
    "an answer that is the choice, and a number",
    { question: "Q", choices: ["3", "4"], answer: "4" },
    [["Q", " 3"], ["Q", " 4"]],
    1,
  ],
  [
    "labels of one's own, as in ARC",
    { question: "Q", choices: { text: ["a", "b", "c"], label: ["1", "2", "3"] }, answerKey: "2" },
    [["Q", " a"], ["Q", " b"], ["Q", " c"]],
    1,
  ],
  [
    "WinoGrande",
    { context_options: ["He so he", "He so she"], continuation: "left.", gold: 1 },
    [["He so he", " left."], ["He so she", " left."]],
    1,
  ],
  [
    "HellaSwag, cleaned",
    hellaswag,
    [["Washing: A man wets. He rubs", " in. soap"], ["Washing: A man wets. He rubs", " sleeps"]],
    0,
  ],
];

for (const [what, line, options, answer] of shapes) {
  test(`reads ${what}`, () => {
    const item = choiceItem(line);
    assert.deepEqual(item.options.map((o) => [o.context, o.continuation]), options);
    assert.deepEqual([item.answer, item.byLength, item.shorter()], [answer, true, null]);
  });
}

const refused: [string, Json, RegExp][] = [
  ["no object", [1], /must be an object: got \[1\]$/],
  [
    "no choices",
    { question: "Q", answer: 0 },
    /two choices or more, which are texts: got nothing$/,
  ],
  ["one choice", { question: "Q", choices: ["a"], answer: 0 }, /two choices or more/],
  ["choices that are numbers", { question: "Q", choices: [1, 2], answer: 0 }, /which are texts/],
  ["an empty choice", { question: "Q", choices: ["a", " "], answer: 0 }, /which are texts/],
  [
    "no answer",
    { question: "Q", choices: ["a", "b"] },
    /answer with one of 2 choices: got nothing$/,
  ],
  ["an answer too high", { question: "Q", choices: ["a", "b"], answer: 2 }, /got 2$/],
  ["a negative answer", { question: "Q", choices: ["a", "b"], answer: -1 }, /got -1$/],
  ["no question", { choices: ["a", "b"], answer: 0 }, /have a question, query, context or ctx/],
  ["contexts alone", { context_options: ["a", "b"], gold: 0 }, /have a continuation/],
];

for (const [what, line, message] of refused) {
  test(`${what} is refused`, () => {
    assert.throws(() => choiceItem(line, '"x.jsonl" line 3'), (error: Error) => {
      assert.match(error.message, /^Cannot read "x.jsonl" line 3 as it must /);
      assert.match(error.message, message);
      return error instanceof SyntaxError;
    });
  });
}

test("a .jsonl file is read line by line, blank ones left out, faults named by line", () =>
  inFolder(async (at) => {
    const line = JSON.stringify({ question: "Q", choices: ["a", "b"], answer: 0, subject: "s" });
    await writeFile(at("a.jsonl"), `${line}\n\n${line}\r\n${line}`);
    const items = await readChoices(at("a.jsonl"));
    assert.deepEqual(items.map(({ subject }) => subject), ["s", "s", "s"]);
    assert.equal((await readChoices(at("a.jsonl"), { limit: 2 })).length, 2);
    await writeFile(at("b.jsonl"), `${line}\n{"question": 1}\n`);
    await assert.rejects(readChoices(at("b.jsonl")), /b.jsonl" line 2 as it must/);
    await writeFile(at("c.jsonl"), "\n");
    await assert.rejects(readChoices(at("c.jsonl")), /must hold some: got none$/);
    await assert.rejects(readChoices(at("d.jsonl")), /must be a file: got nothing there$/);
  }));

test("an MMLU folder as first published: no titles, letters for answers, quotes", () =>
  inFolder(async (at) => {
    await mkdir(at("dev"));
    await mkdir(at("test"));
    const row = '"Is ""it"", or\nnot?",a,"b, c",d,e,';
    await writeFile(at("dev", "us_law_dev.csv"), `${row}C\n`);
    await writeFile(at("test", "us_law_test.csv"), `${row}B\n${row}D\n`);
    const items = await readChoices(at(""));
    assert.deepEqual(items.map(({ answer, subject }) => [answer, subject]), [
      [1, "us_law"],
      [3, "us_law"],
    ]);
    const asked = 'Is "it", or\nnot?\nA. a\nB. b, c\nC. d\nD. e\nAnswer:';
    assert.ok(items[0].options[0].context.endsWith(`about  us law.\n\n${asked} C\n\n${asked}`));
    await writeFile(at("test", "us_law_test.csv"), "what,a,b,c,d,E\n");
    await assert.rejects(
      readChoices(at("")),
      /must hold question, choices and answer: got 6 cells/,
    );
    await assert.rejects(readChoices(at("dev")), /must hold test\/SUBJECT_test.csv: got none$/);
  }));

testUnless(absentData("mmlu"), "MMLU's 14,042 questions of 57 subjects are read", async () => {
  const items = await readChoices(pathOf("../shared/text/mmlu"));
  assert.equal(items.length, 14_042);
  assert.equal(new Set(items.map(({ subject }) => subject)).size, 57);
  for (const { options } of items) assert.equal(options.length, 4);
});

for (const [name, count] of [["openbook_qa", 500], ["winogrande", 1267]] as const) {
  testUnless(absentData(`${name}.jsonl`), `${name}'s ${count} questions are read`, async () => {
    assert.equal((await readChoices(pathOf(`../shared/text/${name}.jsonl`))).length, count);
  });
}

function absentData(name: string): string | null {
  return existsSync(pathOf(`../shared/text/${name}`)) ? null : `no ../shared/text/${name}`;
}
