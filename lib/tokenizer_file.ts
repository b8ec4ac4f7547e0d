/**
 * Reads tokenizer.json, which may come from a stranger, and says what is in it before any of it runs:
 * at most 64 MB of strict JSON, ids that are small integers, known parts only and at most 64 of them,
 * added tokens of at most 256 characters.
 *
 * A tokenizer is a chain: added tokens are cut out, the rest is normalized, cut by the pre-tokenizer,
 * and the model (merges, or words) makes tokens; the decoder goes back. The post-processor, which
 * could repeat the text as it likes, is only read: does it put a token before the text (BOS), and
 * which. What it puts behind the text is left out.
 *
 * Models: BPE (LLaMA, Mistral, Qwen, Phi), WordLevel, WordPiece, Unigram. `tokenizer_config.json`
 * beside it names the special tokens; it may be absent.
 *
 * @module
 */
import { join } from "node:path";
import { readSmall } from "./safetensors.ts";
import { type Json, parseStrictJson, quote } from "./strict_json.ts";

/** A JSON object. */
export type JsonObject = { [name: string]: Json };

/** What is in a tokenizer.json. */
export interface TokenizerFile {
  readonly path: string;
  /** The whole document, checked. */
  readonly document: JsonObject;
  /** tokenizer_config.json, empty where there is none. */
  readonly settings: JsonObject;
  /** Token by id; ids without one are holes. */
  readonly tokens: readonly (string | undefined)[];
  /** Ids that the file adds to the model's vocabulary. */
  readonly added: ReadonlySet<number>;
  /** Ids of control tokens, which are no text. */
  readonly special: ReadonlySet<number>;
  /** The id that the post-processor puts before a text, null where it puts none. */
  readonly leading: number | null;
}

const MAX_FILE_BYTES = 2 ** 26;
const MAX_ID = 2 ** 22;
const MAX_ADDED = 2 ** 16;
const MAX_ADDED_CHARACTERS = 256;
const MAX_PIECE_CHARACTERS = 64;
const MAX_PARTS = 64;

const PARTS = {
  normalizer: "BertNormalizer Precompiled Sequence Replace NFC NFD NFKC NFKD Strip StripAccents " +
    "Lowercase Prepend",
  pre_tokenizer: "BertPreTokenizer Sequence Whitespace WhitespaceSplit Metaspace ByteLevel Split " +
    "Punctuation Digits",
  decoder: "ByteLevel WordPiece Metaspace BPEDecoder Sequence Replace Fuse Strip ByteFallback",
};

const BEHAVIORS = "Isolated Removed MergedWithPrevious MergedWithNext Contiguous";

/** Where a Sequence keeps its parts. */
const SEQUENCES = {
  normalizer: "normalizers",
  pre_tokenizer: "pretokenizers",
  decoder: "decoders",
};

/**
 * Reads the tokenizer of a model's folder.
 *
 * @throws {Error} where there is none, and on what is refused, in one line.
 */
export async function readTokenizerFile(folder: string): Promise<TokenizerFile> {
  const path = join(folder, "tokenizer.json");
  const document = await readObject(path);
  const settings = await readOptional(join(folder, "tokenizer_config.json"));
  const check: Check = { path, parts: 0 };
  for (const kind of ["normalizer", "pre_tokenizer", "decoder"] as const) {
    checkPart(check, kind, document[kind] ??= null);
  }
  const tokens = modelTokens(check, document);
  const { added, special } = addedTokens(check, document, tokens);
  const leading = leadingToken(document.post_processor ?? null, 0);
  if (leading !== null && tokens[leading] === undefined) {
    refuse(check, "put a token of its own before a text", `id ${leading}`);
  }
  return { path, document, settings, tokens, added, special, leading };
}

interface Check {
  readonly path: string;
  parts: number;
}

function refuse({ path }: Check, rule: string, got: string): never {
  throw new TypeError(`Cannot use ${quote(path)} as a tokenizer as it must ${rule}: got ${got}`);
}

async function readObject(path: string): Promise<JsonObject> {
  const document = parseStrictJson(await readSmall(path, MAX_FILE_BYTES), quote(path));
  return isObject(document) ? document : refuse({ path, parts: 0 }, "be an object", told(document));
}

/** An object out of a file that need not be there. */
export async function readOptional(path: string): Promise<JsonObject> {
  return await readObject(path).catch((error) => {
    if (error.cause?.code === "ENOENT") return {};
    throw error;
  });
}

/** A part of the chain, or the parts of a Sequence. */
function checkPart(check: Check, kind: keyof typeof PARTS, part: Json): void {
  if (part === null) return;
  if (++check.parts > MAX_PARTS) refuse(check, `have at most ${MAX_PARTS} parts`, "more");
  const type = isObject(part) ? part.type : undefined;
  if (!isObject(part) || typeof type !== "string" || !PARTS[kind].split(" ").includes(type)) {
    refuse(check, `have a ${kind} of a known type`, told(type ?? part));
  }
  if (type === "Sequence") {
    const parts = part[SEQUENCES[kind]];
    if (!Array.isArray(parts)) return refuse(check, `list the parts of a ${kind}`, told(parts));
    for (const one of parts) checkPart(check, kind, one);
  }
  if (type === "Replace" || type === "Split") checkPattern(check, part);
  if (type === "Split" || type === "Punctuation") {
    requireOneOf(check, part, "behavior", BEHAVIORS);
  } else if (type === "Metaspace") {
    requireOneOf(check, part, "prepend_scheme", "always first never");
    const { replacement = "\u2581" } = part;
    if (typeof replacement !== "string" || [...replacement].length !== 1) {
      refuse(check, "have a Metaspace that puts one character for a blank", told(replacement));
    }
  }
  if (type === "Prepend" && typeof part.prepend !== "string") {
    refuse(check, "say what a Prepend prepends", told(part.prepend));
  }
}

/** Refuses a word that is none of the known ones; it may be absent. */
function requireOneOf(check: Check, part: JsonObject, key: string, known: string): void {
  const word = part[key];
  if (word === undefined || known.split(" ").includes(word as string)) return;
  refuse(check, `have a ${part.type} with a known ${key}`, told(word));
}

function checkPattern(check: Check, { type, pattern, content }: JsonObject): void {
  const text = isObject(pattern) ? pattern.Regex ?? pattern.String : undefined;
  if (typeof text !== "string" || text === "") {
    refuse(check, `give ${type} a pattern, {"Regex": ..} or {"String": ..}`, told(pattern));
  }
  if (type === "Replace" && typeof content !== "string") {
    refuse(check, "say what a Replace puts in", told(content));
  }
}

/** The model's own tokens by id. */
function modelTokens(check: Check, document: JsonObject): (string | undefined)[] {
  const { model } = document;
  if (!isObject(model)) return refuse(check, "have a model", told(model));
  model.type ??= "merges" in model ? "BPE" : null;
  if (!/^(BPE|WordLevel|WordPiece|Unigram)$/.test(String(model.type))) {
    refuse(check, "have a model of type BPE, WordLevel, WordPiece or Unigram", told(model.type));
  }
  const unigram = model.type === "Unigram";
  const tokens: (string | undefined)[] = [];
  for (const [token, id] of entriesOf(check, model.vocab, unigram)) {
    if (!isId(id)) {
      refuse(check, `have ids from 0 to ${MAX_ID - 1}`, `${told(id)} of ${told(token)}`);
    }
    tokens[id] = token;
  }
  if (model.type === "BPE") checkMerges(check, model.merges);
  if (unigram && model.byte_fallback) checkBytes(check, tokens);
  if (Number(model.max_input_chars_per_word ?? 0) > 1000) {
    refuse(check, "have words of at most 1000 characters", told(model.max_input_chars_per_word));
  }
  return tokens;
}

/** Pairs of token and id, out of an object or a list of [piece, score]. */
function entriesOf(check: Check, vocab: Json | undefined, unigram: boolean): [string, Json][] {
  if (!unigram) {
    return isObject(vocab)
      ? Object.entries(vocab)
      : refuse(check, "have a vocabulary", told(vocab));
  }
  if (!Array.isArray(vocab)) return refuse(check, "have a list of pieces", told(vocab));
  return vocab.map((entry, id) => {
    const [piece, score] = Array.isArray(entry) ? entry : [];
    if (typeof piece !== "string" || piece.length > MAX_PIECE_CHARACTERS || !isNumber(score)) {
      refuse(check, `have pieces of at most ${MAX_PIECE_CHARACTERS} characters`, told(entry));
    }
    return [piece, id];
  });
}

/** Merges as "a b" or ["a", "b"]. */
function checkMerges(check: Check, merges: Json | undefined): void {
  if (!Array.isArray(merges)) return refuse(check, "have merges", told(merges));
  const wrong = merges.find((merge) =>
    Array.isArray(merges[0])
      ? !Array.isArray(merge) || merge.length !== 2 || merge.some((m) => typeof m !== "string")
      : typeof merge !== "string" || !merge.includes(" ")
  );
  if (wrong !== undefined) refuse(check, "have merges of two tokens each", told(wrong));
}

/** How a vocabulary spells a byte. */
export function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

function checkBytes(check: Check, tokens: (string | undefined)[]): void {
  const known = new Set(tokens);
  const missing = Array.from({ length: 256 }, (_, byte) => byteToken(byte))
    .find((token) => !known.has(token));
  if (missing === undefined) return;
  refuse(check, "have all 256 bytes as tokens to fall back to", `none for ${missing}`);
}

/** Puts the added tokens among the others. */
function addedTokens(check: Check, document: JsonObject, tokens: (string | undefined)[]) {
  const list = document.added_tokens ??= [];
  if (!Array.isArray(list) || list.length > MAX_ADDED) {
    return refuse(check, `list at most ${MAX_ADDED} added tokens`, told(list));
  }
  const [added, special] = [new Set<number>(), new Set<number>()];
  for (const token of list) {
    const { id, content, single_word = false } = isObject(token) ? token : {};
    if (!isId(id) || typeof content !== "string" || content.length > MAX_ADDED_CHARACTERS) {
      refuse(
        check,
        `have added tokens of id and at most ${MAX_ADDED_CHARACTERS} characters`,
        told(token),
      );
    }
    if (single_word !== false) {
      refuse(check, "have no added token that matches only a single_word", told(content));
    }
    if (tokens[id] === undefined) added.add(id);
    if ((token as JsonObject).special === true) special.add(id);
    tokens[id] = content;
  }
  return { added, special };
}

/** The id that a post-processor puts before a text. */
function leadingToken(processor: Json, depth: number): number | null {
  if (!isObject(processor) || depth > 8) return null;
  const { type, single, special_tokens, cls, processors } = processor;
  if (type === "Sequence" && Array.isArray(processors)) {
    const all = processors.slice(0, MAX_PARTS).map((one) => leadingToken(one, depth + 1));
    return all.find((id) => id !== null) ?? null;
  }
  if (type === "BertProcessing" || type === "RobertaProcessing") {
    return Array.isArray(cls) && isId(cls[1]) ? cls[1] : null;
  }
  const first = Array.isArray(single) && isObject(single[0]) ? single[0].SpecialToken : null;
  if (type !== "TemplateProcessing" || !isObject(first) || !isObject(special_tokens)) return null;
  const token = special_tokens[String(first.id)];
  const ids = isObject(token) ? token.ids : null;
  return Array.isArray(ids) && isId(ids[0]) ? ids[0] : null;
}

/** Whether a value is a JSON object. */
export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isId(value: Json | undefined): value is number {
  return Number.isInteger(value) && value as number >= 0 && value as number < MAX_ID;
}

function isNumber(value: Json | undefined): value is number {
  return typeof value === "number";
}

/** A value as an error shows it. */
function told(value: Json | undefined): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value)?.slice(0, 200) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
