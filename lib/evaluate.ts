/**
 * Scores a model: perplexity over windows of text, and multiple choice by log-likelihood. Needs of a
 * model only its losses; a model that can also give the logits after a context scores questions whose
 * answers are one token each, as MMLU's are, in one run instead of four.
 *
 *   nll           mean of the windows' mean losses, nats a token; perplexity = exp(nll)
 *   standardError of nll: windows count as independent, their tokens do not
 *   accuracy      share of questions whose right option is the likeliest
 *
 * An option is tokenised with its context, and what the context takes alone is cut off; its score is
 * the sum over its own tokens, for files by length divided by its characters. A question longer than
 * the context loses worked examples where it has them, else its beginning.
 *
 * @module
 */
import type { ChoiceItem, ChoiceOption } from "./choices.ts";
import { type Estimate, estimate, meanOf, perplexityOf } from "./statistics.ts";
import { quote } from "./strict_json.ts";
import type { TextWindows } from "./text_windows.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What evaluation needs of a model. */
export interface Scorer {
  /** -log p(ids[i] | ids[0 .. i - 1]) in nats for i = 1 .. n - 1, [n - 1], from an empty cache. */
  losses(ids: ArrayLike<number>): Promise<Float32Array>;
  /** Empties the cache; with `logits`. */
  reset?(): void;
  /** Logits after the last of the ids, [vocab]. */
  logits?(ids: ArrayLike<number>): Promise<Float32Array>;
}

/** Options of both. */
export interface EvaluateOptions {
  /** Told after each window or question. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** A perplexity, with what it was taken over. */
export interface TextScore {
  /** Mean loss, nats a token. */
  readonly nll: number;
  readonly perplexity: number;
  /** Predictions: windows x (context - 1). */
  readonly tokens: number;
  readonly windows: number;
  readonly context: number;
  /** Of `nll`, over windows; null for one. */
  readonly standardError: number | null;
  /** Of `perplexity`. */
  readonly perplexityStandardError: number | null;
  readonly seconds: number;
  /** Mean loss of each window, for paired comparisons. */
  readonly windowNll: readonly number[];
}

/**
 * Scores windows of a text.
 *
 * @throws {RangeError} on a loss that is no number, naming the window.
 */
export async function evaluateText(
  scorer: Scorer,
  { windows, context }: TextWindows,
  { onProgress, signal }: EvaluateOptions = {},
): Promise<TextScore> {
  const start = performance.now();
  const windowNll: number[] = [];
  for (const window of windows) {
    signal?.throwIfAborted();
    const mean = meanOf(await scorer.losses(window));
    requireNumber(mean, `window ${windowNll.length + 1}`);
    windowNll.push(mean);
    onProgress?.(windowNll.length, windows.length);
  }
  const nll = estimate(windowNll);
  const perplexity = perplexityOf(nll);
  return {
    nll: nll.mean,
    perplexity: perplexity.mean,
    tokens: windows.length * (context - 1),
    windows: windows.length,
    context,
    standardError: nll.standardError,
    perplexityStandardError: perplexity.standardError,
    seconds: (performance.now() - start) / 1000,
    windowNll,
  };
}

/** Accuracy over some questions. */
export interface Accuracy {
  readonly accuracy: number;
  readonly standardError: number | null;
  readonly items: number;
}

/** Accuracy over all questions. */
export interface ChoicesScore extends Accuracy {
  readonly subjects: readonly (Accuracy & { readonly subject: string })[];
  /** Mean of the subjects' accuracies; that of all where there are no subjects. */
  readonly subjectMean: number;
  /** Accuracy where sums of log-likelihood are compared as they are. */
  readonly unnormalized: number;
  readonly seconds: number;
}

/** Options of {@linkcode evaluateChoices}. */
export interface EvaluateChoicesOptions extends EvaluateOptions {
  /** The most tokens the model takes. */
  readonly context: number;
}

/**
 * Asks a model questions.
 *
 * @throws {RangeError} on a loss that is no number, or an option that no token stands before, naming
 * the question.
 */
export async function evaluateChoices(
  scorer: Scorer,
  tokenizer: Pick<Tokenizer, "encode">,
  items: readonly ChoiceItem[],
  { context, onProgress, signal }: EvaluateChoicesOptions,
): Promise<ChoicesScore> {
  const start = performance.now();
  const right: number[] = [];
  const rightAsSummed: number[] = [];
  for (const [i, item] of items.entries()) {
    signal?.throwIfAborted();
    const what = `question ${i + 1}`;
    const scores = await scoreItem(scorer, tokenizer, item, { context, what });
    for (const { sum } of scores) requireNumber(sum, what);
    const isRight = (values: number[]) => Number(indexOfMost(values) === item.answer);
    right.push(isRight(scores.map(({ sum, length }) => item.byLength ? sum / length : sum)));
    rightAsSummed.push(isRight(scores.map(({ sum }) => sum)));
    onProgress?.(i + 1, items.length);
  }
  const subjects = bySubject(items, right);
  const all = accuracyOf(right);
  return {
    ...all,
    subjects,
    subjectMean: subjects.length > 0
      ? meanOf(subjects.map(({ accuracy }) => accuracy))
      : all.accuracy,
    unnormalized: meanOf(rightAsSummed),
    seconds: (performance.now() - start) / 1000,
  };
}

function accuracyOf(right: readonly number[]): Accuracy {
  const { mean: accuracy, standardError }: Estimate = estimate(right);
  return { accuracy, standardError, items: right.length };
}

function bySubject(items: readonly ChoiceItem[], right: readonly number[]) {
  const groups = new Map<string, number[]>();
  items.forEach(({ subject }, i) => {
    if (subject !== null) groups.set(subject, [...groups.get(subject) ?? [], right[i]]);
  });
  return [...groups].map(([subject, own]) => ({ subject, ...accuracyOf(own) }));
}

interface Score {
  /** Log-likelihood of the continuation, nats. */
  readonly sum: number;
  /** Characters of the continuation, without the blank before it. */
  readonly length: number;
}

async function scoreItem(
  scorer: Scorer,
  tokenizer: Pick<Tokenizer, "encode">,
  item: ChoiceItem,
  { context, what }: { context: number; what: string },
): Promise<Score[]> {
  let pairs = item.options.map((option) => encodePair(tokenizer, option));
  for (const [i, { begin }] of pairs.entries()) {
    if (begin > 0) continue;
    throw new RangeError(
      `Cannot score ${what} as a token must stand before each option: got none before ${
        quote(item.options[i].continuation)
      }`,
    );
  }
  for (let less = item.shorter(); less !== null; less = less.shorter()) {
    if (pairs.every(({ ids }) => ids.length <= context)) break;
    pairs = less.options.map((option) => encodePair(tokenizer, option));
  }
  const sums = await sumsOf(scorer, pairs.map((pair) => fitted(pair, context)));
  return sums.map((sum, i) => {
    return { sum, length: [...item.options[i].continuation.trimStart()].length };
  });
}

/** Ids of context and continuation; the continuation begins at `begin`. */
interface Pair {
  readonly ids: readonly number[];
  readonly begin: number;
}

function encodePair(tokenizer: Pick<Tokenizer, "encode">, option: ChoiceOption): Pair {
  const ids = tokenizer.encode(option.context + option.continuation);
  const before = tokenizer.encode(option.context).length;
  return { ids, begin: Math.min(before, ids.length - 1) };
}

/** The end of a pair that is longer than the context. */
function fitted({ ids, begin }: Pair, context: number): Pair {
  const over = Math.max(0, ids.length - context);
  return { ids: ids.slice(over), begin: Math.max(1, begin - over) };
}

/** The log-likelihood of each continuation: from one run where they are a token each. */
async function sumsOf(scorer: Scorer, pairs: Pair[]): Promise<number[]> {
  const [{ ids, begin }] = pairs;
  const isShared = pairs.every((pair) =>
    pair.begin === begin && pair.ids.length === begin + 1 &&
    pair.ids.every((id, i) => i === begin || id === ids[i])
  );
  if (isShared && scorer.logits && scorer.reset) {
    scorer.reset();
    const logits = await scorer.logits(ids.slice(0, begin));
    const total = logSumExp(logits);
    return pairs.map((pair) => logits[pair.ids[begin]] - total);
  }
  const sums: number[] = [];
  for (const pair of pairs) {
    const losses = await scorer.losses(pair.ids);
    sums.push(-losses.subarray(pair.begin - 1).reduce((sum, loss) => sum + loss, 0));
  }
  return sums;
}

/** log sum exp(x), in f64, without overflow. */
export function logSumExp(logits: Float32Array): number {
  let most = -Infinity;
  for (let i = 0; i < logits.length; i++) if (!(logits[i] <= most)) most = logits[i];
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - most);
  return most + Math.log(sum);
}

/** The first of the largest. */
function indexOfMost(values: readonly number[]): number {
  return values.indexOf(Math.max(...values));
}

function requireNumber(value: number, what: string): void {
  if (Number.isFinite(value)) return;
  throw new RangeError(`Cannot score ${what} as its losses must be numbers: got ${value}`);
}
