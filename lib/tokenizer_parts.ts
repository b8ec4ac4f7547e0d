/**
 * The parts of a tokenizer that run regular expressions, in our own hand: Split, and Replace in
 * normalizers and decoders. The package would run them on the runtime's own engine, without a limit,
 * and knows two of the five ways in which Split may treat a match:
 *
 *   Isolated            "a-b" at "-" gives  a  -  b
 *   Removed                                 a  b
 *   MergedWithPrevious                      a-  b
 *   MergedWithNext                          a  -b
 *   Contiguous          as Isolated, matches next to each other in one piece
 *
 * Also what the package knows in part: Punctuation, which treats a match in the same five ways;
 * Metaspace, which by default cuts before each of its marks, and decodes by its prepend_scheme;
 * Unigram with byte_fallback, which spells in bytes what it has no token for; and pre-tokenizers of a
 * fixed pattern, where words, blanks and digits are Unicode's, not JavaScript's `\w`, `\s` and `\d`.
 *
 * The package builds its parts without patterns, then their methods are replaced. The model gets
 * long words in pieces, cut where no merge reaches across: the tokens are the same, and a text that
 * no pre-tokenizer cuts, as with LLaMA's own, takes a tenth of the time.
 *
 * @module
 */
import { type Budget, compilePattern, type Finder } from "./pattern.ts";
import type { Json } from "./strict_json.ts";
import { byteToken, isObject, type JsonObject } from "./tokenizer_file.ts";

/** What the package has built. */
export interface Parts {
  readonly normalizer: Part | null;
  readonly pre_tokenizer: Part | null;
  readonly decoder: Part | null;
  readonly model: { encode(words: string[]): string[] };
}

/** A part: what it does, and for a Sequence the parts in it. */
interface Part {
  readonly normalizers?: (Part | null)[];
  readonly tokenizers?: (Part | null)[];
  readonly decoders?: (Part | null)[];
  normalize?(text: string): string;
  pre_tokenize_text?(text: string, options?: Section): string[];
  decode_chain?(tokens: string[]): string[];
  text_decoder?: TextDecoder;
  pattern?: RegExp;
}

/** Which stretch of the text this is; control tokens count. */
interface Section {
  readonly section_index?: number;
}

const KINDS = ["normalizer", "pre_tokenizer", "decoder"] as const;

/** The document as the package shall see it: without patterns, no post-processor. */
export function documentWithoutPatterns(document: JsonObject): JsonObject {
  const parts = KINDS.map((kind) => [kind, withoutPatterns(document[kind] ?? null)]);
  return { ...document, ...Object.fromEntries(parts), post_processor: null };
}

function withoutPatterns(part: Json): Json {
  if (Array.isArray(part)) return part.map(withoutPatterns);
  if (!isObject(part)) return part;
  const copy = Object.entries(part).map(([key, value]): [string, Json] => {
    if (key === "pattern") return [key, { String: "-" }];
    return [
      key,
      /^(normalizers|pretokenizers|decoders)$/.test(key) ? withoutPatterns(value) : value,
    ];
  });
  return Object.fromEntries(copy);
}

/** Gives the parts that need it methods of our own, which draw on a budget. */
export function takeOver(parts: Parts, document: JsonObject, budget: Budget): void {
  for (const kind of KINDS) takeOverPart(parts[kind], document[kind] ?? null, budget);
  const { type, ignore_merges, end_of_word_suffix, continuing_subword_prefix, ...config } = document
    .model as JsonObject;
  const { model } = parts;
  const encode = model.encode.bind(model);
  if (type === "Unigram" && config.byte_fallback) {
    const known = new Set((config.vocab as [string, number][]).map(([piece]) => piece));
    model.encode = (words) =>
      encode(words).flatMap((piece) => known.has(piece) ? piece : byteTokens(piece));
  }
  if (type !== "BPE" || ignore_merges || end_of_word_suffix || continuing_subword_prefix) return;
  const cut = cutter(config.merges as (string | [string, string])[]);
  model.encode = (words) =>
    encode(words.flatMap((word) => word.length > LONG_WORD ? cut(word) : word));
}

function byteTokens(text: string): string[] {
  return Array.from(new TextEncoder().encode(text), byteToken);
}

const LONG_WORD = 64;

/** Cuts a word between two characters that no merge brings together. */
export function cutter(merges: readonly (string | [string, string])[]): (word: string) => string[] {
  let joined: Set<string> | null = null; // last character of a left side, first of its right side
  return (word) => {
    joined ??= new Set(merges.map((merge) => {
      const [left, right] = typeof merge === "string" ? merge.split(" ", 2) : merge;
      return (left.match(/.$/su)?.[0] ?? "") + (right.match(/^./su)?.[0] ?? "");
    }));
    const pieces: string[] = [];
    let [begin, at, before] = [0, 0, ""];
    for (const character of word) {
      if (at > 0 && !joined.has(before + character)) {
        pieces.push(word.slice(begin, at));
        begin = at;
      }
      at += character.length;
      before = character;
    }
    pieces.push(word.slice(begin));
    return pieces;
  };
}

function takeOverPart(part: Part | null, config: Json, budget: Budget): void {
  if (part === null || !isObject(config)) return;
  const configs = config.normalizers ?? config.pretokenizers ?? config.decoders;
  const inner = part.normalizers ?? part.tokenizers ?? part.decoders ?? [];
  inner.forEach((one, i) => takeOverPart(one, (configs as Json[])[i], budget));
  if (config.type === "Split") {
    const find = finderOf(config, budget);
    const [behavior, invert] = [String(config.behavior ?? "Isolated"), config.invert === true];
    part.pre_tokenize_text = (text) => split(text, find(text), { behavior, invert });
  } else if (config.type === "Replace") {
    const find = finderOf(config, budget);
    const put = (text: string) => replace(text, find(text), String(config.content));
    if (part.normalize) part.normalize = put;
    else part.decode_chain = (tokens) => tokens.map(put);
  } else if (config.type === "Metaspace") {
    if (part.pre_tokenize_text) part.pre_tokenize_text = metaspace(config);
    else part.decode_chain = withoutMetaspace(config);
  } else if (config.type === "Punctuation") {
    const behavior = String(config.behavior ?? "Isolated");
    part.pre_tokenize_text = (text) => split(text, punctuationOf(text), { behavior });
  } else if (config.type === "ByteLevel" && part.pre_tokenize_text) {
    part.pattern = GPT2;
  } else if (part.pre_tokenize_text && Object.hasOwn(WORDS, String(config.type))) {
    const words = WORDS[String(config.type)](config);
    part.pre_tokenize_text = (text) => text.match(words) ?? [];
  } else if (config.type === "ByteFallback") {
    part.text_decoder = new TextDecoder("utf-8", { ignoreBOM: true }); // U+FEFF is a character
  }
}

const [WORD, BLANK] = ["\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}", "\\p{White_Space}"];
const PUNCTUATION = "\\p{P}!-\\/:-@\\[-`\\{-~";

const MARK = new RegExp(`[${PUNCTUATION}]`, "gu");

/** How a ByteLevel cuts, for GPT-2 and its kin. */
const GPT2 = new RegExp(
  `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${BLANK}\\p{L}\\p{N}]+|` +
    `${BLANK}+(?!\\P{White_Space})|${BLANK}+`,
  "gu",
);

/** Pre-tokenizers of a fixed pattern: what of a text they keep. */
const WORDS: Record<string, (config: JsonObject) => RegExp> = {
  Whitespace: () => new RegExp(`[${WORD}]+|[^${WORD}${BLANK}]+`, "gu"),
  WhitespaceSplit: () => new RegExp(`[^${BLANK}]+`, "gu"),
  BertPreTokenizer: () => new RegExp(`[^${BLANK}${PUNCTUATION}]+|[${PUNCTUATION}]`, "gu"),
  Digits: ({ individual_digits }) => individual_digits ? /\P{N}+|\p{N}/gu : /\P{N}+|\p{N}+/gu,
};

/** Where a text has a mark, each by itself. */
function punctuationOf(text: string): [number, number][] {
  return Array.from(text.matchAll(MARK), ({ 0: mark, index }) => [index, index + mark.length]);
}

function finderOf({ pattern }: JsonObject, budget: Budget): Finder {
  const { Regex, String: literal } = pattern as JsonObject;
  return typeof Regex === "string"
    ? compilePattern(Regex, budget)
    : literalFinder(literal as string, budget);
}

function literalFinder(literal: string, budget: Budget): Finder {
  return (text) => {
    const found: [number, number][] = [];
    for (let at = text.indexOf(literal); at >= 0; at = text.indexOf(literal, at + literal.length)) {
      found.push([at, at + literal.length]);
    }
    budget.steps -= found.length;
    return found;
  };
}

/** Cuts a text at its matches, see above; `invert` takes what lies between them for the matches. */
export function split(
  text: string,
  found: readonly [number, number][],
  { behavior, invert = false }: { behavior: string; invert?: boolean },
): string[] {
  const pieces: { text: string; isMatch: boolean }[] = [];
  const add = (begin: number, end: number, isMatch: boolean) => {
    if (end > begin) pieces.push({ text: text.slice(begin, end), isMatch: isMatch !== invert });
  };
  let at = 0;
  for (const [begin, end] of found) {
    add(at, begin, false);
    add(begin, end, true);
    at = end;
  }
  add(at, text.length, false);
  return joinPieces(pieces, behavior);
}

function joinPieces(pieces: { text: string; isMatch: boolean }[], behavior: string): string[] {
  if (behavior === "Removed") pieces = pieces.filter(({ isMatch }) => !isMatch);
  const joined: string[] = [];
  pieces.forEach((piece, i) => {
    const before = i > 0 && pieces[i - 1].isMatch;
    const joins = i > 0 &&
      (behavior === "MergedWithPrevious"
        ? piece.isMatch && !before
        : behavior === "MergedWithNext"
        ? before && !piece.isMatch
        : behavior === "Contiguous" && before === piece.isMatch);
    if (joins) joined[joined.length - 1] += piece.text;
    else joined.push(piece.text);
  });
  return joined;
}

const MOST_GROWTH = 16;

/** A text with its matches replaced, to at most 16 times its length and 1,000,000. */
export function replace(
  text: string,
  found: readonly [number, number][],
  content: string,
): string {
  if (text.length + found.length * content.length > MOST_GROWTH * text.length + 1_000_000) {
    throw new RangeError(
      `Cannot replace by the tokenizer's rule as the text must grow at most ${MOST_GROWTH}-fold: ` +
        `got ${found.length} times ${content.length} characters`,
    );
  }
  let [replaced, at] = ["", 0];
  for (const [begin, end] of found) {
    replaced += text.slice(at, begin) + content;
    at = end;
  }
  return replaced + text.slice(at);
}

/** Marks blanks, and the start where it shall; cuts before each mark unless told not to. */
function metaspace(config: JsonObject): (text: string, options?: Section) => string[] {
  const { mark, scheme } = marksOf(config);
  return (text, { section_index } = {}) => {
    const begins = scheme === "always" || (scheme === "first" && section_index === 0);
    const marked = text.replaceAll(" ", mark);
    const whole = begins && !marked.startsWith(mark) ? mark + marked : marked;
    if (config.split === false) return [whole];
    const found = literalFinder(mark, { steps: 0 })(whole);
    return split(whole, found, { behavior: "MergedWithNext" });
  };
}

/** Blanks for the marks; those of the first token go, where one may have been put there. */
function withoutMetaspace(config: JsonObject): (tokens: string[]) => string[] {
  const { mark, scheme } = marksOf(config);
  return (tokens) =>
    tokens.map((token, i) => token.replaceAll(mark, i === 0 && scheme !== "never" ? "" : " "));
}

function marksOf({ replacement, prepend_scheme, add_prefix_space }: JsonObject) {
  const mark = typeof replacement === "string" ? replacement : "\u2581";
  return { mark, scheme: prepend_scheme ?? (add_prefix_space === false ? "never" : "always") };
}
