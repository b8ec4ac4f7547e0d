/** Claims about lib/evaluate.ts, with a model whose losses are worked out by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers";
import { choiceItem, mmluItem } from "../lib/choices.ts";
import { openDevice } from "../lib/device.ts";
import { evaluateChoices, evaluateText, logSumExp, type Scorer } from "../lib/evaluate.ts";
import { loadModel } from "../lib/llama.ts";
import { TINY } from "./golden_windows.ts";

/** The loss of a token is its id in hundredths, whatever went before. */
const model: Scorer = {
  losses: (ids) => Promise.resolve(Float32Array.from(Array.from(ids).slice(1), (id) => id / 100)),
};

/** A token a character, its code the id; BOS is 1. */
const tokenizer = {
  encode: (text: string) => [1, ...[...text].map((letter) => letter.codePointAt(0)!)],
};

const windows = (...ids: number[][]) => ({
  windows: ids.map((window) => Uint32Array.from(window)),
  context: ids[0].length,
  textTokens: ids.flat().length,
});

const near = (got: number | null, expected: number) =>
  assert.ok(Math.abs(got! - expected) <= 1e-6 * Math.abs(expected), `${got}, not ${expected}`);

test("the first token of a window is not scored, and window means are averaged", async () => {
  const score = await evaluateText(model, windows([500, 100, 200], [900, 300, 400]));
  near(score.nll, 2.5);
  near(score.perplexity, Math.exp(2.5));
  near(score.standardError, 1); // of 1.5 and 3.5
  near(score.perplexityStandardError, Math.exp(2.5));
  assert.deepEqual([score.tokens, score.windows, score.context], [4, 2, 3]);
  score.windowNll.forEach((nll, i) => near(nll, [1.5, 3.5][i]));
  assert.ok(score.seconds >= 0);
});

test("one window has no standard error", async () => {
  assert.equal((await evaluateText(model, windows([1, 2]))).standardError, null);
});

test("progress is told window by window, and a signal stops", async () => {
  const told: string[] = [];
  const onProgress = (done: number, total: number) => told.push(`${done}/${total}`);
  await evaluateText(model, windows([1, 2], [1, 2], [1, 2]), { onProgress });
  assert.deepEqual(told, ["1/3", "2/3", "3/3"]);
  const stop = new AbortController();
  const stopping = { onProgress: () => stop.abort(), signal: stop.signal };
  await assert.rejects(evaluateText(model, windows([1, 2], [1, 2]), stopping), {
    name: "AbortError",
  });
});

test("a signal that a timer gives stops a model in plain TypeScript", async () => {
  const tiny = await loadModel(await openDevice({ binding: "cpu" }), TINY, { context: 64 });
  const stop = new AbortController();
  let scored = 0;
  const options = { onProgress: () => void scored++, signal: stop.signal };
  const ids = Array.from({ length: 64 }, (_, i) => i);
  setTimeout(() => stop.abort(), 1);
  const all = Array.from({ length: 20 }, () => ids);
  await assert.rejects(evaluateText(tiny, windows(...all), options), { name: "AbortError" });
  assert.ok(scored < 10, `${scored} windows`);
});

test("a loss that is no number is refused by its window", async () => {
  const broken = { losses: () => Promise.resolve(Float32Array.of(1, NaN)) };
  await assert.rejects(evaluateText(broken, windows([1, 2, 3])), {
    name: "RangeError",
    message: "Cannot score window 1 as its losses must be numbers: got NaN",
  });
});

/** "!" is 33, "~" is 126: losses 0.33 and 1.26. */
const item = (choices: string[], answer: number, subject: string | null = null) =>
  choiceItem({ question: "q", choices, answer, ...subject === null ? {} : { subject } });

test("the likeliest continuation a character wins; as summed, the short one", async () => {
  // " ~" costs 0.32 + 1.26 over one character, " !!!!!" 0.32 + 5 x 0.33 over five
  const score = await evaluateChoices(model, tokenizer, [item(["~", "!!!!!"], 1)], { context: 99 });
  assert.deepEqual([score.accuracy, score.unnormalized], [1, 0]);
});

test("subjects have their own accuracy, and a mean of their own", async () => {
  const items = [
    item(["!", "~"], 0, "x"),
    item(["!", "~"], 0, "x"),
    item(["!", "~"], 1, "x"),
    item(["!", "~"], 1, "y"),
  ];
  const score = await evaluateChoices(model, tokenizer, items, { context: 99 });
  assert.equal(score.accuracy, 0.5);
  near(score.standardError, Math.sqrt(0.25 / 3));
  assert.equal(score.items, 4);
  near(score.subjectMean, 1 / 3);
  assert.deepEqual(score.subjects.map((s) => [s.subject, s.items]), [["x", 3], ["y", 1]]);
  near(score.subjects[0].accuracy, 2 / 3);
  assert.deepEqual([score.subjects[1].accuracy, score.subjects[1].standardError], [0, null]);
});

test("an option that no token stands before is refused by its question", async () => {
  const noBos = { encode: (text: string) => tokenizer.encode(text).slice(1) };
  const empty = choiceItem({ question: "", choices: ["!", "~"], answer: 1 });
  const ask = (items: ReturnType<typeof item>[]) =>
    evaluateChoices(model, noBos, items, { context: 99 });
  await assert.rejects(ask([item(["!", "~"], 0), empty]), {
    name: "RangeError",
    message:
      'Cannot score question 2 as a token must stand before each option: got none before " !"',
  });
  assert.equal((await evaluateChoices(model, tokenizer, [empty], { context: 99 })).items, 1);
  // a blank and a letter in one token with the context's only one
  const merged = { encode: (text: string) => [...text.replace(/^q ./, "m")].map(() => 40) };
  const one = evaluateChoices(model, merged, [item(["!", "~"], 0)], { context: 99 });
  await assert.rejects(one, /Cannot score question 1 as a token must stand before each option/);
});

/** Records what it is asked. */
function recorder(): Scorer & { asked: string[] } {
  const asked: string[] = [];
  const told = (ids: ArrayLike<number>) => String.fromCodePoint(...Array.from(ids));
  return {
    asked,
    reset: () => {
      asked.push("reset");
    },
    losses: (ids) => {
      asked.push(`losses ${told(ids)}`);
      return Promise.resolve(new Float32Array(ids.length - 1).fill(1));
    },
    logits: (ids) => {
      asked.push(`logits ${told(ids)}`);
      const logits = new Float32Array(200);
      logits["B".charCodeAt(0)] = 5;
      return Promise.resolve(logits);
    },
  };
}

/** Blank and letter are one token: its code is that of the letter. */
const joined = {
  encode: (text: string) => tokenizer.encode(text.replace(/ (?=[A-D]$)/, "")),
};

test("answers of one token each are read off one run", async () => {
  const scorer = recorder();
  const question = { question: "q", choices: ["a", "b"], answer: 1 };
  const score = await evaluateChoices(scorer, joined, [mmluItem("s", [], question)], {
    context: 999,
  });
  assert.equal(score.accuracy, 1);
  assert.equal(scorer.asked.length, 2);
  assert.match(scorer.asked[1], /^logits .The following .*\nAnswer:$/s);
});

test("a prompt that is too long loses worked examples, then its beginning", async () => {
  const question = { question: "q", choices: ["a", "b"], answer: 1 };
  const long = mmluItem("s", [question, question], question);
  const full = tokenizer.encode(long.options[0].context).length;
  const one = tokenizer.encode(long.shorter()!.options[0].context).length;
  for (const [context, examples] of [[full + 1, 2], [full, 1], [one + 1, 1], [one, 0], [9, 0]]) {
    const scorer = recorder();
    await evaluateChoices(scorer, joined, [long], { context });
    const prompt = scorer.asked.at(-1)!.slice("logits ".length);
    assert.equal(Math.max(0, prompt.split("Answer:").length - 2), examples, `${context}`);
    assert.ok(prompt.length < context && prompt.endsWith("Answer:"));
  }
});

test("logSumExp() does not overflow", () => {
  near(logSumExp(Float32Array.of(1000, 1000)), 1000 + Math.log(2));
  assert.ok(Number.isNaN(logSumExp(Float32Array.of(1, NaN, 2))));
});
