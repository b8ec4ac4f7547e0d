/**
 * Text to token ids and back, by the tokenizer.json of a model: the seam to `@huggingface/tokenizers`.
 *
 * The package makes tokens; what it would leave to the runtime's own regular expressions (Split,
 * Replace) is done here by `pattern.ts`, within a budget: a text costs at most 1,000,000 + 500 a
 * character steps, whatever the file says. What the package leaves out of the format, or takes for
 * ASCII, is done in `tokenizer_parts.ts`.
 *
 * BOS: added where the post-processor of tokenizer.json puts a token before a text, and nowhere else;
 * `encode(text, { bos })` overrules that. Nothing is put behind a text. Control tokens that stand in a
 * text become their ids, as everywhere. A text is taken as it stands, but for lone surrogates, which
 * are no characters (U+FFFD).
 *
 * `decode` gives the text of ids without control tokens, and never "cleans up" blanks.
 *
 * @module
 */
import { loadNpm } from "./npm.ts";
import { type Budget, stepsFor } from "./pattern.ts";
import { type Json, quote } from "./strict_json.ts";
import {
  isObject,
  type JsonObject,
  readTokenizerFile,
  type TokenizerFile,
} from "./tokenizer_file.ts";
import { documentWithoutPatterns, type Parts, takeOver } from "./tokenizer_parts.ts";

/** A model's tokenizer. */
export interface Tokenizer {
  /** Text to ids; BOS comes first where the tokenizer adds one, or as `bos` says. */
  encode(text: string, options?: { bos?: boolean }): number[];
  /** Ids to text, without control tokens unless `special`. */
  decode(ids: ArrayLike<number>, options?: { special?: boolean }): string;
  /** Decodes a stream, see {@linkcode TokenStream}; `after` are ids that went before it. */
  stream(after?: ArrayLike<number>): TokenStream;
  /** The id of a token by its spelling in tokenizer.json. */
  idOf(token: string): number | undefined;
  /** One more than the largest id. */
  readonly vocabSize: number;
  /** The begin-of-text token: the one that is added, or that tokenizer_config.json names. */
  readonly bos: number | null;
  /** The end-of-text token that tokenizer_config.json names. */
  readonly eos: number | null;
  /** Whether a text gets a BOS. */
  readonly addsBos: boolean;
  readonly file: TokenizerFile;
}

/**
 * Gives the text that an id adds, as far as its characters are complete; null ends the stream and
 * gives what was held back. The pieces together are what `decode` makes of all ids. An id without a
 * token, as padded embeddings have, adds nothing.
 */
export type TokenStream = (id: number | null) => string;

/**
 * Opens the tokenizer of a model's folder.
 *
 * @throws {Error} where there is none, or it is refused, in one line.
 *
 * @example Round trip
 * ```ts
 * import { openTokenizer } from "./tokenizer.ts";
 * import assert from "node:assert/strict";
 * import { fileURLToPath } from "node:url";
 *
 * const folder = fileURLToPath(new URL("../examples/tiny-llama", import.meta.url));
 * const tokenizer = await openTokenizer(folder);
 * const ids = tokenizer.encode("To be, or not");
 * assert.equal(ids[0], tokenizer.bos);
 * assert.equal(tokenizer.decode(ids), "To be, or not");
 * ```
 */
export async function openTokenizer(folder: string): Promise<Tokenizer> {
  const file = await readTokenizerFile(folder);
  const { Tokenizer: Package } = await loadNpm<TokenizersPackage>("@huggingface/tokenizers");
  const budget: Budget = { steps: Infinity };
  const raw = oneLine(`Cannot use ${quote(file.path)} as a tokenizer`, () => {
    const { unk_token = null } = file.document.model as JsonObject;
    const raw = new Package(documentWithoutPatterns(file.document), { unk_token });
    takeOver(raw, file.document, budget);
    return raw;
  });
  return tokenizerOf(file, raw, budget);
}

/** The little of the package that is used here. */
interface TokenizersPackage {
  Tokenizer: new (document: JsonObject, settings: JsonObject) => RawTokenizer;
}

interface RawTokenizer extends Parts {
  encode(text: string): { ids: (number | undefined)[]; tokens: string[] };
  decode(ids: number[], options: { clean_up_tokenization_spaces: false }): string;
}

function tokenizerOf(file: TokenizerFile, raw: RawTokenizer, budget: Budget): Tokenizer {
  const { tokens, special, leading } = file;
  const ids = new Map<string, number>();
  tokens.forEach((token, id) => token !== undefined && ids.set(token, id)); // tokens may have holes
  const named = (key: string) => {
    const name = tokenName(file.settings[key]);
    return name === null ? null : ids.get(name) ?? null;
  };
  const bos = leading ?? named("bos_token");
  const decodeKnown = (list: number[]): string => {
    if (list.length === 0) return "";
    budget.steps = stepsFor(64 * list.length);
    return raw.decode(list, { clean_up_tokenization_spaces: false });
  };
  return {
    file,
    vocabSize: tokens.length,
    bos,
    eos: named("eos_token"),
    addsBos: leading !== null,
    idOf: (token) => ids.get(token),
    encode(text, options = {}) {
      const own = encodeText(raw, text.toWellFormed(), budget);
      if (!(options.bos ?? leading !== null)) return own;
      if (bos !== null) return [bos, ...own];
      throw new Error("Cannot put a BOS before the text as the tokenizer must have one: got none");
    },
    decode(list, options = {}) {
      const known = Array.from(list, (id) => checkId(id, tokens));
      return decodeKnown(options.special ? known : known.filter((id) => !special.has(id)));
    },
    stream: (after = []) => {
      const isText = (id: number) => tokens[id] !== undefined && !special.has(id);
      return streamOf(decodeKnown, isText, Array.from(after).filter(isText).slice(-CONTEXT_TOKENS));
    },
  };
}

function encodeText(raw: RawTokenizer, text: string, budget: Budget): number[] {
  budget.steps = stepsFor(text.length);
  const { ids, tokens } = oneLine("Cannot encode the text", () => raw.encode(text));
  const hole = ids.indexOf(undefined);
  if (hole < 0) return ids as number[];
  throw new RangeError(
    `Cannot encode the text as all of it must be in the vocabulary: got ${quote(tokens[hole])}`,
  );
}

function checkId(id: number, tokens: TokenizerFile["tokens"]): number {
  if (tokens[id] !== undefined) return id;
  throw new RangeError(
    `Cannot decode a token as its id must be in the vocabulary of ${tokens.length}: got ${id}`,
  );
}

/** Tokens before a stream, or its own last ones, that tell how the next one is written. */
const CONTEXT_TOKENS = 4;

/**
 * Decodes a window of ids that begins at some complete character, and gives what is new in it. An
 * incomplete character shows as one U+FFFD at the end, which waits; where a token is text by itself,
 * a new window begins with it.
 */
function streamOf(
  decode: (ids: number[]) => string,
  isText: (id: number) => boolean,
  window: number[],
): TokenStream {
  let given = decode(window).replace(/\ufffd$/, "").length;
  return (id) => {
    if (id !== null && !isText(id)) return "";
    if (id !== null) window.push(id);
    const text = decode(window);
    const isWhole = id === null || !text.endsWith("\ufffd");
    const piece = text.slice(given, isWhole ? undefined : Math.max(given, text.length - 1));
    given += piece.length;
    if (isWhole && window.length > CONTEXT_TOKENS) {
      window = window.slice(-CONTEXT_TOKENS);
      given = decode(window).length;
    }
    return piece;
  };
}

/** A special token's spelling in tokenizer_config.json: plain, or in an object. */
export function tokenName(token: Json | undefined): string | null {
  const name = isObject(token) ? token.content : token;
  return typeof name === "string" ? name : null;
}

/** Tells of a failure within the package in one line that begins with `what`. */
function oneLine<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    const { message } = cause as Error;
    if (message.startsWith("Cannot ")) throw cause;
    const line = message.split("\n", 1)[0];
    throw new Error(`${what} as it must be sound: got ${quote(line)}`, { cause });
  }
}

/**
 * Refuses a tokenizer that cannot be this model's: with tokens of its own, not merely added ones, at
 * or above the model's vocabulary, or with less than half as many.
 */
export function requireTokenizerFor({ file }: Tokenizer, vocab: number): void {
  const own = file.tokens.findLastIndex((token, id) => token !== undefined && !file.added.has(id));
  if (own < vocab && file.tokens.length >= vocab / 2) return;
  throw new RangeError(
    `Cannot use ${quote(file.path)} with this model as it must be of its vocabulary, ` +
      `${vocab} tokens: got ${file.tokens.length}`,
  );
}
