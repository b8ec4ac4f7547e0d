/**
 * JSON as a careful reader wants it: a tokenizer over the UTF-8 bytes, because `JSON.parse` cannot
 * see what makes two readers disagree about one file.
 *
 * Refused, on top of what the grammar refuses: a key that comes twice in one object (also when one
 * is spelled with \u escapes), a lone surrogate escape, bytes that are not strict UTF-8, a byte
 * order mark, nesting of 128 or more, a number beyond the range of f64, more than 2^19 keys open
 * at once. `integer()` takes digits only: no sign, fraction or exponent (`-0`, `4.0`, `4e0`), at
 * most 2^64 - 1, exact.
 *
 * Form: `JsonReader` pulls one value after another and builds nothing that its caller does not
 * keep, so a 100 MB header costs little more than its bytes; time is linear. `parseStrictJson()`
 * builds a whole document from it; its objects have no prototype, so `__proto__` is a mere name.
 *
 * Errors are one line: `Cannot read SUBJECT as RULE: got WHAT at byte N`, with names from the
 * document escaped and cut by `quote()`.
 *
 * @module
 */

import { decodeString } from "./json_string.ts";

/** What a JSON document can hold. Objects have no prototype. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

const MAX_DEPTH = 127;
const MAX_OPEN_KEYS = 2 ** 19;
const FEW_KEYS = 8;
const [TAB, LINE_FEED, CARRIAGE_RETURN, SPACE] = [0x09, 0x0a, 0x0d, 0x20];
const [QUOTE, COMMA, COLON, BACKSLASH] = [0x22, 0x2c, 0x3a, 0x5c];
const [MINUS, ZERO, NINE] = [0x2d, 0x30, 0x39];
const [OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];
const NOT_ASCII = 0x80;
const END = -1;

/** The longest number, in characters, and the longest text that is looked up before it is made. */
const [MAX_NUMBER, MAX_RECENT] = [1000, 256];

const LITERALS: Record<string, null | boolean> = { true: true, false: false, null: null };
const NUMBER = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;

/**
 * A name from a file or a command line as an error may show it: in quotes, with nothing invisible
 * or that moves the cursor, its end in at most `most` characters (a path says most there).
 */
export function quote(name: string, most = 96): string {
  const tail = [...name.slice(-most)].map(escapeCharacter);
  let first = tail.length;
  for (let room = most; first > 0 && (room -= tail[first - 1].length) >= 0;) first--;
  const isCut = first > 0 || name.length > most;
  return `"${isCut ? ".." : ""}${tail.slice(first).join("")}"`;
}

function escapeCharacter(character: string): string {
  if (character === '"' || character === "\\") return `\\${character}`;
  const isPlain = !/[\p{C}\p{Zl}\p{Zp}]/u.test(character);
  return isPlain ? character : `\\u{${character.codePointAt(0)!.toString(16)}}`;
}

/**
 * Parses a whole document.
 *
 * @param subject how errors call it, for instance a quoted path
 * @throws {SyntaxError} naming the rule and the byte
 *
 * @example Usage
 * ```ts
 * import { parseStrictJson } from "./strict_json.ts";
 * import assert from "node:assert/strict";
 *
 * const bytes = new TextEncoder().encode('{"a": 1, "\\u0061": 2}');
 * assert.throws(() => parseStrictJson(bytes), /keys of an object must differ: got "a" twice at byte 9/);
 * ```
 */
export function parseStrictJson(bytes: Uint8Array, subject = "JSON"): Json {
  const reader = new JsonReader(bytes, subject);
  const value = reader.value();
  reader.end();
  return value;
}

/** Pulls values out of JSON bytes, front to back. Each method reads one value, or throws. */
export class JsonReader {
  /** Said at the end of an error, when not null: name of the part being read. */
  within: string | null = null;
  #bytes: Uint8Array;
  #subject: string;
  #at = 0;
  #depth = 0;
  #openKeys = 0;
  #recent: string[] = new Array(256);

  constructor(bytes: Uint8Array, subject: string) {
    this.#bytes = bytes;
    this.#subject = subject;
  }

  /** Bytes read so far. */
  get at(): number {
    return this.#at;
  }

  /** Throws the one-line refusal of this document. */
  refuse(rule: string, got: string, at = this.#at): never {
    throw new SyntaxError(this.message(rule, `${got} at byte ${at}`));
  }

  /** The one line of a refusal. */
  message(rule: string, got: string | number | bigint): string {
    const within = this.within === null ? "" : ` in ${quote(this.within)}`;
    return `Cannot read ${this.#subject} as ${rule}: got ${got}${within}`;
  }

  /** Reads an object; `member` is called with each key and must read that key's value. */
  object(member: (key: string) => void, rule = "JSON must have an object here"): void {
    this.#open(OPEN_OBJECT, rule);
    const few: string[] = [];
    let all: Set<string> | undefined;
    let count = 0;
    for (; this.#more(CLOSE_OBJECT, count === 0); count++) {
      const begin = this.#at;
      const key = this.#key();
      if (all === undefined ? few.includes(key) : all.has(key)) {
        this.refuse("the keys of an object must differ", `${quote(key)} twice`, begin);
      }
      if (count < FEW_KEYS) few.push(key);
      else (all ??= new Set(few)).add(key);
      member(key);
    }
    this.#openKeys -= count;
  }

  /** Reads an array; `item` is called before each entry and must read it. */
  array(item: () => void, rule = "JSON must have an array here"): void {
    this.#open(OPEN_ARRAY, rule);
    for (let first = true; this.#more(CLOSE_ARRAY, first); first = false) item();
  }

  /** Reads a string. */
  string(rule = "JSON must have a string here"): string {
    this.#take(QUOTE, rule);
    const begin = this.#at;
    let bits = 0;
    for (let byte = this.#bytes[begin]; byte !== QUOTE; byte = this.#bytes[++this.#at]) {
      if (byte === undefined) this.refuse("a string in JSON must end", "the end of the text");
      if (byte < SPACE) this.refuse("a string in JSON must escape control characters", hex(byte));
      if (byte === BACKSLASH) this.#at++;
      bits |= byte === BACKSLASH ? NOT_ASCII : byte;
    }
    const text = this.#bytes.subarray(begin, this.#at++);
    if (bits < NOT_ASCII && text.length <= MAX_RECENT) return this.#shortText(text);
    return decodeString(text, (rule, got, offset) => this.refuse(rule, got, begin + offset));
  }

  /** Reads an unsigned integer in plain digits; a bigint only above 2^53 - 1. */
  integer(rule = "JSON must have an unsigned integer here"): number | bigint {
    const begin = this.#skipSpace();
    const small = this.#digits();
    if (small >= 0) return small;
    const text = this.#numberText(rule);
    const isDigits = text.length <= 20 && /^[0-9]+$/.test(text);
    if (!isDigits || BigInt(text) >= 2n ** 64n) this.refuse(rule, quote(text, 24), begin);
    const value = BigInt(text);
    return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
  }

  /** Reads any value and keeps it. */
  value(): Json {
    const byte = this.#peek();
    if (byte === QUOTE) return this.string();
    if (byte === OPEN_ARRAY) {
      const items: Json[] = [];
      this.array(() => items.push(this.value()));
      return items;
    }
    if (byte === OPEN_OBJECT) {
      const members: { [name: string]: Json } = Object.create(null);
      this.object((key) => members[key] = this.value());
      return members;
    }
    return this.#scalar();
  }

  /** Reads any value, by the same rules, and drops it. */
  skip(): void {
    const byte = this.#peek();
    if (byte === QUOTE) this.string();
    else if (byte === OPEN_ARRAY) this.array(() => this.skip());
    else if (byte === OPEN_OBJECT) this.object(() => this.skip());
    else this.#scalar();
  }

  /** Checks that nothing but white space is left. */
  end(): void {
    if (this.#peek() !== END) this.refuse("JSON must end after its value", this.#seen());
  }

  #scalar(): null | boolean | number {
    const begin = this.#skipSpace();
    const small = this.#digits();
    if (small >= 0) return small;
    if (!isNumeric(this.#bytes[begin])) return this.#literal();
    const value = Number(this.#numberText("JSON must have a value here"));
    if (!Number.isFinite(value)) this.refuse("a number in JSON must fit in f64", `${value}`, begin);
    return value;
  }

  #literal(): null | boolean {
    const begin = this.#at;
    while (isLowerCase(this.#bytes[this.#at]) && this.#at < begin + 8) this.#at++;
    const word = String.fromCharCode(...this.#bytes.subarray(begin, this.#at));
    if (Object.hasOwn(LITERALS, word)) return LITERALS[word];
    return this.refuse("JSON must have a value here", word ? quote(word) : this.#seen(), begin);
  }

  /** Passes up to 15 plain digits and gives their value; -1, passing nothing, for other numbers. */
  #digits(): number {
    let at = this.#at;
    let value = 0;
    while (isDigit(this.#bytes[at])) value = value * 10 + this.#bytes[at++] - ZERO;
    const count = at - this.#at;
    const isPlain = count === 1 || (count > 1 && count < 16 && this.#bytes[this.#at] !== ZERO);
    if (!isPlain || isNumeric(this.#bytes[at])) return -1;
    this.#at = at;
    return value;
  }

  /** The text of the number that begins here, checked against the grammar. */
  #numberText(rule: string): string {
    const begin = this.#at;
    while (isNumeric(this.#bytes[this.#at])) this.#at++;
    if (this.#at === begin) this.refuse(rule, this.#seen());
    const most = this.#bytes.subarray(begin, Math.min(this.#at, begin + MAX_NUMBER + 1));
    const text = String.fromCharCode(...most);
    if (text.length > MAX_NUMBER || !NUMBER.test(text)) {
      this.refuse("a number in JSON must be well formed", quote(text, 24), begin);
    }
    return text;
  }

  /** Plain ASCII text; names that keep coming back, as in headers, are made once. */
  #shortText(text: Uint8Array): string {
    const slot = text.length === 0 ? 0 : (text.length * 31 + text[0] * 7 + text.at(-1)!) & 255;
    const recent = this.#recent[slot];
    if (recent !== undefined && sameText(recent, text)) return recent;
    return this.#recent[slot] = String.fromCharCode.apply(null, text as unknown as number[]);
  }

  #key(): string {
    const begin = this.#at;
    const key = this.string("JSON must have a key here");
    this.#take(COLON, 'a key in JSON must be followed by ":"');
    if (++this.#openKeys > MAX_OPEN_KEYS) {
      this.refuse(`it must have at most ${MAX_OPEN_KEYS} keys`, "more", begin);
    }
    return key;
  }

  #open(bracket: number, rule: string): void {
    this.#take(bracket, rule);
    if (++this.#depth > MAX_DEPTH) {
      this.refuse(`JSON must nest at most ${MAX_DEPTH} deep`, "more", this.#at - 1);
    }
  }

  /** Whether another entry follows in this array or object; passes the comma or the bracket. */
  #more(bracket: number, first: boolean): boolean {
    if (this.#peek() === bracket) {
      this.#at++;
      this.#depth--;
      return false;
    }
    if (!first) {
      this.#take(COMMA, `JSON must have "," or "${String.fromCharCode(bracket)}" here`);
      if (this.#peek() === bracket) this.refuse("JSON must have no trailing comma", this.#seen());
    }
    return true;
  }

  #take(byte: number, rule: string): void {
    if (this.#peek() !== byte) this.refuse(rule, this.#seen());
    this.#at++;
  }

  #peek(): number {
    const at = this.#skipSpace();
    return at < this.#bytes.length ? this.#bytes[at] : END;
  }

  #skipSpace(): number {
    while (isSpace(this.#bytes[this.#at])) this.#at++;
    return this.#at;
  }

  /** The next byte in words, for an error. */
  #seen(): string {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) return "the end of the text";
    return byte > SPACE && byte < 0x7f ? quote(String.fromCharCode(byte)) : hex(byte);
  }
}

function isSpace(byte: number): boolean {
  return byte === SPACE || byte === LINE_FEED || byte === CARRIAGE_RETURN || byte === TAB;
}

/** Digits, signs, points and letters of exponents: what a misspelt number may also hold. */
function isNumeric(byte: number): boolean {
  return isDigit(byte) || byte === MINUS || byte === 0x2b || byte === 0x2e || byte === 0x65 ||
    byte === 0x45;
}

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= NINE;
}

function sameText(text: string, bytes: Uint8Array): boolean {
  if (text.length !== bytes.length) return false;
  for (let i = 0; i < bytes.length; i++) {
    if (text.charCodeAt(i) !== bytes[i]) return false;
  }
  return true;
}

function isLowerCase(byte: number): boolean {
  return byte >= 0x61 && byte <= 0x7a;
}

function hex(byte: number): string {
  return `byte 0x${byte.toString(16).padStart(2, "0")}`;
}
