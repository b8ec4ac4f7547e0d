/**
 * Text from a model, a token at a time: the prompt in one run, then a token a run, until one of
 *
 *   length    as many tokens as were asked for
 *   stop      a stop token, which is left out of the text
 *   context   the cache is full
 *   stopped   the signal
 *
 * Without `choose` it is greedy, on the two largest logits alone. Rounding differs from device to
 * device, so a step whose two largest logits differ by less than 1e-3 may go either way, and the text
 * with it: the first such step is told as a near tie.
 *
 * @module
 */

import type { LanguageModel } from "./llama.ts";
import { largest } from "./sampling.ts";
import type { Tokenizer, TokenStream } from "./tokenizer.ts";
import { eventLoop } from "./waiting.ts";

/** Options of {@linkcode generate}. */
export interface GenerateOptions {
  /** Most tokens to write, 64 unless told. */
  readonly tokens?: number;
  /** Gives the index of the logit it chooses; the largest unless told. */
  readonly choose?: (logits: Float32Array) => number;
  /** How many of the largest logits `choose` is shown; all unless told. */
  readonly candidates?: number;
  /** Ids that end the text; the end-of-text tokens of model and tokenizer unless told. */
  readonly stop?: ReadonlySet<number>;
  readonly signal?: AbortSignal;
}

/** A token; null at the end, with the text that was held back for want of a whole character. */
export interface Step {
  readonly id: number | null;
  readonly text: string;
}

/** A step at which two tokens are as likely, up to rounding. */
export interface NearTie {
  /** From 1. */
  readonly step: number;
  readonly ids: readonly [chosen: number, other: number];
  readonly difference: number;
}

/** What it came to. */
export interface Generated {
  readonly text: string;
  readonly ids: readonly number[];
  readonly ending: "length" | "stop" | "context" | "stopped";
  /** Prompt tokens a second. */
  readonly prefillTokensPerSecond: number;
  /** Null where the prompt's run gave the only token. */
  readonly decodeTokensPerSecond: number | null;
  /** The first near tie of a greedy text. */
  readonly nearTie: NearTie | null;
}

/** Two logits nearer than this may swap places on another device. */
const NEAR = 1e-3;

/**
 * Continues a prompt, ids [n], from an empty cache: yields a step a token, returns the whole.
 *
 * @throws {RangeError} if the prompt is empty, longer than the context or of ids that the model has
 * not, or if logits are no numbers
 *
 * @example
 * ```ts
 * import { openDevice } from "./device.ts";
 * import { generate } from "./generate.ts";
 * import { loadModel } from "./llama.ts";
 * import { openTokenizer } from "./tokenizer.ts";
 * import { fileURLToPath } from "node:url";
 *
 * const folder = fileURLToPath(new URL("../examples/tiny-llama", import.meta.url));
 * const device = await openDevice({ binding: "cpu" });
 * const [model, tokenizer] = [await loadModel(device, folder), await openTokenizer(folder)];
 * const prompt = tokenizer.encode("Once upon a time");
 * for await (const { text } of generate(model, tokenizer, prompt, { tokens: 4 })) console.log(text);
 * ```
 */
export async function* generate(
  model: LanguageModel,
  tokenizer: Pick<Tokenizer, "stream" | "eos">,
  prompt: ArrayLike<number>,
  options: GenerateOptions = {},
): AsyncGenerator<Step, Generated> {
  const { tokens = 64, signal, stop = stopTokens(model, tokenizer) } = options;
  const stream: TokenStream = tokenizer.stream(prompt);
  const ids: number[] = [];
  let [text, nearTie] = ["", null as NearTie | null];
  let ending: Generated["ending"] | null = null;
  const tell = (id: number | null): Step => {
    const piece = stream(id);
    text += piece;
    return { id, text: piece };
  };
  model.reset();
  const clock = { prefill: 0, decode: 0, runs: 0 }; // ms, ms, runs of one token
  const start = performance.now();
  let next = await ask(model, prompt, options);
  clock.prefill = performance.now() - start;
  while (ending === null) {
    if (stop.has(next.id)) {
      ending = "stop";
      break;
    }
    ids.push(next.id);
    if (next.difference < NEAR) {
      nearTie ??= { step: ids.length, ids: [next.id, next.other], difference: next.difference };
    }
    yield tell(next.id);
    await eventLoop();
    if (signal?.aborted) ending = "stopped";
    else if (ids.length >= tokens) ending = "length";
    else if (prompt.length + ids.length > model.context) ending = "context";
    else {
      const start = performance.now();
      next = await ask(model, [next.id], options);
      clock.decode += performance.now() - start;
      clock.runs++;
    }
  }
  const rest = tell(null);
  if (rest.text) yield rest;
  return {
    text,
    ids,
    ending,
    prefillTokensPerSecond: 1000 * prompt.length / clock.prefill,
    decodeTokensPerSecond: clock.runs > 0 ? 1000 * clock.runs / clock.decode : null,
    nearTie,
  };
}

/** Continues a prompt to its end; `onText` is told the pieces as they come. */
export async function complete(
  model: LanguageModel,
  tokenizer: Pick<Tokenizer, "stream" | "eos">,
  prompt: ArrayLike<number>,
  { onText, ...options }: GenerateOptions & { readonly onText?: (piece: string) => void } = {},
): Promise<Generated> {
  const steps = generate(model, tokenizer, prompt, options);
  for (;;) {
    const { done, value } = await steps.next();
    if (done) return value;
    if (value.text) onText?.(value.text);
  }
}

/**
 * Runs what `generate` will run, on two tokens, and forgets them: kernels are made now, so that the
 * rates of the text that follows are those of running alone. `choose` is not asked, so that a sampler
 * draws what it would have drawn.
 */
export async function warmUp(
  model: LanguageModel,
  prompt: ArrayLike<number>,
  options: GenerateOptions = {},
): Promise<void> {
  const how = options.choose ? { ...options, choose: () => 0 } : options;
  model.reset();
  if (prompt.length > 1) await ask(model, [prompt[0], prompt[1]], how);
  model.reset();
  if (options.tokens !== 1 || prompt.length === 1) await ask(model, [prompt[0]], how);
  model.reset();
}

/** The end-of-text tokens that the model's config and its tokenizer name. */
export function stopTokens(
  { config }: LanguageModel,
  { eos }: Pick<Tokenizer, "eos">,
): ReadonlySet<number> {
  return new Set([...config.eosTokens, ...eos === null ? [] : [eos]]);
}

/** Runs more tokens and chooses one; a greedy choice knows the runner-up. */
async function ask(
  model: LanguageModel,
  ids: ArrayLike<number>,
  { choose, candidates }: GenerateOptions,
): Promise<{ id: number; other: number; difference: number }> {
  const alone = { other: NaN, difference: Infinity };
  if (choose && candidates === undefined) return { id: choose(await model.logits(ids)), ...alone };
  const few = await model.top(ids, choose ? candidates! : 2);
  // where logits are no numbers a GPU finds fewer than it was asked for, and gives ids that are none
  const logits = few.logits.map((logit, i) => few.ids[i] >= model.config.vocab ? NaN : logit);
  if (choose) return { id: few.ids[choose(logits)], ...alone };
  const best = largest(logits);
  return { id: few.ids[best], other: few.ids[1], difference: logits[0] - logits[1] };
}
