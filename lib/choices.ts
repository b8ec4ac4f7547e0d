/**
 * Multiple-choice questions out of files, as texts to be scored: each option is a context and a
 * continuation, and the option whose continuation is likeliest after its context is the answer.
 *
 * A folder is MMLU: `test/SUBJECT_test.csv`, `dev/SUBJECT_dev.csv`, rows of question, four choices
 * and the answer (A to D, or 0 to 3), with or without a title row. The prompt is that of Hendrycks et
 * al., to the letter: five worked examples of the subject, then the question, "Answer:", and of the
 * continuations " A" to " D" the likeliest counts. `shorter` has an example less, for small contexts.
 *
 * A file is JSON, a line an item:
 *
 *   {question | query | context | ctx, choices | endings: [..], answer | label | gold}
 *   {question, choices: {text: [..], label: [..]}, answerKey}        ARC, OpenBookQA
 *   {activity_label, ctx_a, ctx_b, endings, label}                   HellaSwag, cleaned as lm-eval does
 *   {context_options: [..], continuation, gold}                      WinoGrande: one ending, contexts
 *
 * An answer is an index from 0, a letter, a label, or a choice itself; `subject` may name a group. A
 * blank parts context and choice; continuations compare by log-likelihood a character.
 *
 * @module
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseCsv } from "./csv.ts";
import { readSmall } from "./safetensors.ts";
import { type Json, parseStrictJson, quote } from "./strict_json.ts";
import { isObject, type JsonObject } from "./tokenizer_file.ts";

/** One question. */
export interface ChoiceItem {
  readonly subject: string | null;
  readonly options: readonly ChoiceOption[];
  /** Index of the right option. */
  readonly answer: number;
  /** Whether likelihoods are taken a character. */
  readonly byLength: boolean;
  /** The same question with a worked example less, null where it has none left. */
  shorter(): ChoiceItem | null;
}

/** What is scored: the continuation, after the context. */
export interface ChoiceOption {
  readonly context: string;
  readonly continuation: string;
}

const MAX_FILE_BYTES = 2 ** 28;
const SHOTS = 5;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/**
 * Reads the questions of a .jsonl file, or of an MMLU folder.
 *
 * @param options `limit`: the first so many questions of the file, or of each subject
 * @throws {Error} where there are none; {SyntaxError} on a question that is none, naming its line
 */
export async function readChoices(
  path: string,
  { limit = Infinity }: { limit?: number } = {},
): Promise<ChoiceItem[]> {
  const isFolder = await stat(path).then((found) => found.isDirectory(), () => false);
  const items = isFolder ? await readMmlu(path, limit) : await readJsonLines(path, limit);
  if (items.length > 0) return items;
  throw new Error(`Cannot read questions from ${quote(path)} as it must hold some: got none`);
}

async function readText(path: string): Promise<string> {
  return new TextDecoder().decode(await readSmall(path, MAX_FILE_BYTES));
}

async function readMmlu(folder: string, limit: number): Promise<ChoiceItem[]> {
  const names = await readdir(join(folder, "test")).catch(() => []);
  const subjects = names.flatMap((name) => /^(.+)_test\.csv$/.exec(name)?.[1] ?? []).sort();
  if (subjects.length === 0) {
    throw new Error(
      `Cannot read ${quote(folder)} as MMLU as it must hold test/SUBJECT_test.csv: got none`,
    );
  }
  const items: ChoiceItem[] = [];
  for (const subject of subjects) {
    const examples = await readQuestions(join(folder, "dev", `${subject}_dev.csv`));
    const questions = await readQuestions(join(folder, "test", `${subject}_test.csv`));
    for (const question of questions.slice(0, limit)) {
      items.push(mmluItem(subject, examples.slice(0, SHOTS), question));
    }
  }
  return items;
}

/** A row of MMLU. */
export interface Question {
  readonly question: string;
  readonly choices: readonly string[];
  readonly answer: number;
}

async function readQuestions(path: string): Promise<Question[]> {
  const rows = parseCsv(await readText(path));
  const hasTitles = /^question$/i.test(rows[0]?.[0] ?? "");
  return rows.slice(hasTitles ? 1 : 0).map((row, i) => {
    const [question, choices] = [row[0], row.slice(1, -1)];
    const answer = indexOf(row.at(-1)!, choices, []);
    if (choices.length < 2 || answer === null) {
      throw new SyntaxError(
        `Cannot read ${quote(path)} as a row must hold question, choices and answer: ` +
          `got ${row.length} cells in question ${i + 1}`,
      );
    }
    return { question, choices, answer };
  });
}

/** A question of MMLU with its worked examples, as Hendrycks et al. ask it. */
export function mmluItem(
  subject: string,
  examples: readonly Question[],
  question: Question,
): ChoiceItem {
  // Two blanks after "about": their format_subject() puts one before each word
  const title = `The following are multiple choice questions (with answers) about  ${
    subject.replaceAll("_", " ")
  }.\n\n`;
  const solved = examples.map((one) => `${asked(one)} ${LETTERS[one.answer]}\n\n`);
  const context = title + solved.join("") + asked(question);
  return {
    subject,
    options: question.choices.map((_, i) => ({ context, continuation: ` ${LETTERS[i]}` })),
    answer: question.answer,
    byLength: false,
    shorter: () => examples.length > 0 ? mmluItem(subject, examples.slice(0, -1), question) : null,
  };
}

function asked({ question, choices }: Question): string {
  const lines = choices.map((choice, i) => `\n${LETTERS[i]}. ${choice}`);
  return `${question}${lines.join("")}\nAnswer:`;
}

async function readJsonLines(path: string, limit: number): Promise<ChoiceItem[]> {
  const items: ChoiceItem[] = [];
  const lines = (await readText(path)).split("\n");
  for (let i = 0; i < lines.length && items.length < limit; i++) {
    if (lines[i].trim() === "") continue;
    const where = `${quote(path)} line ${i + 1}`;
    items.push(choiceItem(parseStrictJson(new TextEncoder().encode(lines[i]), where), where));
  }
  return items;
}

/**
 * One JSON object as a question.
 *
 * @param where how errors call it
 * @throws {SyntaxError} where it has none of the shapes above.
 */
export function choiceItem(line: Json, where = "a question"): ChoiceItem {
  const object = isObject(line) ? line : refuse(where, "be an object", line);
  const { texts, labels } = choicesOf(object, where);
  const isHellaSwag = typeof object.ctx_a === "string" || "activity_label" in object;
  const clean = isHellaSwag ? cleanHellaSwag : (text: string) => text;
  const given = object.answer ?? object.label ?? object.gold ?? object.answerKey;
  const answer = indexOf(given, texts, labels);
  if (answer === null) return refuse(where, `answer with one of ${texts.length} choices`, given);
  const ending = object.continuation;
  const options = object.context_options
    ? texts.map((context) => option(context, String(ending)))
    : texts.map((text) => option(clean(contextOf(object, where)), clean(text)));
  const subject = typeof object.subject === "string" ? object.subject : null;
  return { subject, options, answer, byLength: true, shorter: () => null };
}

/** Blanks at the end of a context go, and one begins the continuation. */
function option(context: string, text: string): ChoiceOption {
  return { context: context.trimEnd(), continuation: ` ${text.trimStart()}` };
}

/** What there is to choose from, and for some sets a label of each. */
function choicesOf(object: JsonObject, where: string): { texts: string[]; labels: string[] } {
  const given = object.context_options ?? object.choices ?? object.endings;
  const [texts, labels] = isObject(given) ? [given.text, given.label] : [given, []];
  const isTexts = (list: Json | undefined): list is string[] =>
    Array.isArray(list) && list.every((text) => typeof text === "string");
  if (!isTexts(texts) || texts.length < 2 || texts.some((text) => text.trim() === "")) {
    return refuse(where, "have two choices or more, which are texts", given);
  }
  if (object.context_options && typeof object.continuation !== "string") {
    return refuse(where, "have a continuation of its contexts", object.continuation);
  }
  return { texts, labels: isTexts(labels) ? labels : [] };
}

function contextOf(object: JsonObject, where: string): string {
  const { activity_label: label, ctx_a: a, ctx_b: b } = object;
  const context = typeof a === "string"
    ? `${a} ${capitalized(String(b ?? ""))}`
    : object.question ?? object.query ?? object.context ?? object.ctx ?? object.question_stem;
  if (typeof context !== "string") {
    return refuse(where, "have a question, query, context or ctx", context);
  }
  return typeof label === "string" ? `${label}: ${context}` : context;
}

/** As Python's capitalize(): the first letter large, the others small. */
function capitalized(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1).toLowerCase();
}

/** Marks that HellaSwag's sources left behind, taken out as lm-eval does. */
function cleanHellaSwag(text: string): string {
  return text.trim().replaceAll(" [title]", ". ").replace(/\[[^\]\n]*\]/g, "").replaceAll(
    "  ",
    " ",
  );
}

/** The index that an answer means, null where it means none. */
function indexOf(
  answer: Json | undefined,
  texts: readonly string[],
  labels: readonly string[],
): number | null {
  const text = String(answer).trim();
  const meanings = [
    labels.indexOf(text),
    /^\d+$/.test(text) ? Number(text) : -1,
    text.length === 1 ? LETTERS.indexOf(text) : -1,
    texts.indexOf(text),
  ];
  return meanings.find((index) => index >= 0 && index < texts.length) ?? null;
}

function refuse(where: string, rule: string, got: Json | undefined): never {
  const told = JSON.stringify(got) ?? "nothing";
  throw new SyntaxError(
    `Cannot read ${where} as it must ${rule}: got ${
      told.length > 60 ? `${told.slice(0, 57)}...` : told
    }`,
  );
}
