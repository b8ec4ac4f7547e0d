/**
 * JSON as a careful reader wants it: a tokenizer over the UTF-8 bytes, because `JSON.parse` cannot
 * see what makes two readers disagree about one file.
 *
 * Refused, on top of what the grammar refuses: a key that comes twice in one object (also when one
 * is spelled with \u escapes), a lone surrogate escape, bytes that are not strict UTF-8, a byte
 * order mark, nesting of 128 or more, a number beyond the range of f64, more than 2^21 keys open
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

/** What a JSON document can hold. Objects have no prototype. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

const MAX_DEPTH = 127;
const MAX_OPEN_KEYS = 2 ** 21;
const [TAB, LINE_FEED, CARRIAGE_RETURN, SPACE] = [0x09, 0x0a, 0x0d, 0x20];
const [QUOTE, COMMA, COLON, BACKSLASH] = [0x22, 0x2c, 0x3a, 0x5c];
const [MINUS, ZERO, NINE, LETTER_U] = [0x2d, 0x30, 0x39, 0x75];
const [OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];
const END = -1;

const LITERALS: Record<string, null | boolean> = { true: true, false: false, null: null };
const NUMBER = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;
const ESCAPES: Record<number, number> = {
  0x22: 0x22, // "
  0x5c: 0x5c, // \
  0x2f: 0x2f, // /
  0x62: 0x08, // b
  0x66: 0x0c, // f
  0x6e: 0x0a, // n
  0x72: 0x0d, // r
  0x74: 0x09, // t
};

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * A name from a file or a command line as an error may show it: in quotes, nothing invisible or
 * that moves the cursor, at most `most` characters (the end is kept, a path says most there).
 */
export function quote(name: string, most = 96): string {
  const cut = name.length > most ? `..${name.slice(2 - most)}` : name;
  const escaped = cut.replace(/[\p{C}\p{Zl}\p{Zp}"\\]/gu, (character) => {
    const code = character.codePointAt(0)!;
    return code === QUOTE || code === BACKSLASH ? `\\${character}` : `\\u{${code.toString(16)}}`;
  });
  return `"${escaped}"`;
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
  /** Said at the end of an error, when not empty: the part of the document being read. */
  within = "";
  #bytes: Uint8Array;
  #subject: string;
  #at = 0;
  #depth = 0;
  #openKeys = 0;

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
    const within = this.within === "" ? "" : ` in ${quote(this.within)}`;
    return `Cannot read ${this.#subject} as ${rule}: got ${got}${within}`;
  }

  /** Reads an object; `member` is called with each key and must read that key's value. */
  object(member: (key: string) => void, rule = "JSON must have an object here"): void {
    this.#open(OPEN_OBJECT, rule);
    const keys = new Set<string>();
    while (this.#more(CLOSE_OBJECT, keys.size === 0)) {
      const key = this.#key(keys);
      this.#take(COLON, 'a key in JSON must be followed by ":"');
      member(key);
    }
    this.#openKeys -= keys.size;
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
    let escaped = false;
    let bits = 0;
    for (;;) {
      const byte = this.#bytes[this.#at];
      if (byte === QUOTE) break;
      if (byte === undefined) this.refuse("a string in JSON must end", "the end of the text");
      if (byte < SPACE) this.refuse("a string in JSON must escape control characters", hex(byte));
      if (byte === BACKSLASH) {
        escaped = true;
        this.#at++;
      }
      bits |= byte;
      this.#at++;
    }
    const text = this.#bytes.subarray(begin, this.#at++);
    if (escaped) return this.#decode(this.#unescape(text, begin), begin);
    const short = bits < 0x80 && text.length <= 256;
    return short
      ? String.fromCharCode.apply(null, text as unknown as number[])
      : this.#decode(text, begin);
  }

  /** Reads an unsigned integer in plain digits; a bigint only above 2^53 - 1. */
  integer(rule = "JSON must have an unsigned integer here"): number | bigint {
    const begin = this.#skipSpace();
    const text = this.#numberText(rule);
    if (text.length < 16 && /^[0-9]+$/.test(text)) return Number(text);
    const big = text.length <= 20 && /^[0-9]+$/.test(text) ? BigInt(text) : -1n;
    if (big < 0n || big >= 2n ** 64n) this.refuse(rule, quote(text), begin);
    return big <= Number.MAX_SAFE_INTEGER ? Number(big) : big;
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
    const byte = this.#peek();
    if (byte === MINUS || (byte >= ZERO && byte <= NINE)) {
      const value = Number(this.#numberText("JSON must have a value here"));
      if (!Number.isFinite(value)) {
        this.refuse("a number in JSON must fit in f64", String(value), begin);
      }
      return value;
    }
    while (isLowerCase(this.#bytes[this.#at])) this.#at++;
    const word = ascii(this.#bytes.subarray(begin, Math.min(this.#at, begin + 16)));
    if (Object.hasOwn(LITERALS, word)) return LITERALS[word];
    return this.refuse("JSON must have a value here", word ? quote(word) : this.#seen(), begin);
  }

  /** The text of the number that begins here, checked against the grammar. */
  #numberText(rule: string): string {
    const begin = this.#skipSpace();
    while (isNumeric(this.#bytes[this.#at])) this.#at++;
    if (this.#at === begin) this.refuse(rule, this.#seen());
    const text = ascii(this.#bytes.subarray(begin, this.#at));
    if (!NUMBER.test(text)) {
      this.refuse("a number in JSON must be well formed", quote(text), begin);
    }
    return text;
  }

  #key(keys: Set<string>): string {
    const begin = this.#skipSpace();
    const key = this.string("JSON must have a key here");
    if (keys.has(key)) {
      this.refuse("the keys of an object must differ", `${quote(key)} twice`, begin);
    }
    keys.add(key);
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

  #decode(text: Uint8Array, begin: number): string {
    try {
      return utf8.decode(text);
    } catch {
      return this.refuse("a string in JSON must be UTF-8", "other bytes", begin);
    }
  }

  /** Resolves the escapes of a string's bytes; the result is UTF-8 and never longer. */
  #unescape(text: Uint8Array, begin: number): Uint8Array {
    const out = new Uint8Array(text.length);
    let length = 0;
    for (let i = 0; i < text.length;) {
      if (text[i] !== BACKSLASH) {
        out[length++] = text[i++];
      } else if (text[i + 1] === LETTER_U) {
        const point = this.#codePoint(text, i, begin);
        length += encodePoint(point, out, length);
        i += point > 0xffff ? 12 : 6;
      } else {
        const byte = ESCAPES[text[i + 1]];
        if (byte === undefined) {
          this.refuse("an escape in JSON must be a known one", hex(text[i + 1]), begin + i);
        }
        out[length++] = byte;
        i += 2;
      }
    }
    return out.subarray(0, length);
  }

  /** The code point of the \uXXXX, or of the surrogate pair, at text[i]. */
  #codePoint(text: Uint8Array, i: number, begin: number): number {
    const high = fourDigits(text, i);
    if (high < 0) this.refuse("\\u in JSON must have four hex digits", "other", begin + i);
    if (high < 0xd800 || high > 0xdfff) return high;
    const low = fourDigits(text, i + 6);
    if (high > 0xdbff || low < 0xdc00 || low > 0xdfff) {
      this.refuse("a surrogate escape in JSON must stand in a pair", "a lone one", begin + i);
    }
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
  }
}

function isSpace(byte: number): boolean {
  return byte === SPACE || byte === LINE_FEED || byte === CARRIAGE_RETURN || byte === TAB;
}

/** Digits, signs, points and letters of exponents: what a misspelt number may also hold. */
function isNumeric(byte: number): boolean {
  return (byte >= ZERO && byte <= NINE) || byte === MINUS || byte === 0x2b || byte === 0x2e ||
    byte === 0x65 || byte === 0x45;
}

function isLowerCase(byte: number): boolean {
  return byte >= 0x61 && byte <= 0x7a;
}

function hex(byte: number): string {
  return `byte 0x${byte.toString(16).padStart(2, "0")}`;
}

function ascii(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

/** The value of \uXXXX at text[i], or -1 when there is none. */
function fourDigits(text: Uint8Array, i: number): number {
  if (text[i] !== BACKSLASH || text[i + 1] !== LETTER_U) return -1;
  const digits = ascii(text.subarray(i + 2, i + 6));
  return /^[0-9a-fA-F]{4}$/.test(digits) ? parseInt(digits, 16) : -1;
}

/** Writes a code point as UTF-8 at out[at]; gives the bytes written. */
function encodePoint(point: number, out: Uint8Array, at: number): number {
  const bytes = new TextEncoder().encode(String.fromCodePoint(point));
  out.set(bytes, at);
  return bytes.length;
}
