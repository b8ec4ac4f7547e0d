/**
 * The text of a JSON string out of its bytes, the part of JSON where readers disagree most.
 *
 * Strict: the bytes are UTF-8 with nothing overlong and no surrogates; an escape is one of
 * `\" \\ \/ \b \f \n \r \t \uXXXX`; two \u escapes make one character only as a high and a low
 * surrogate, in this order, and either alone is refused.
 *
 * An escape never takes fewer bytes than what it stands for (\u0041 six for one, a pair twelve for
 * four), so the unescaped UTF-8 is written into one buffer of the string's own length and decoded
 * once: linear time, and no piece of text for each escape.
 *
 * @module
 */

const [BACKSLASH, LETTER_U] = [0x5c, 0x75];

/** Byte after the backslash to the byte it stands for. */
const ESCAPES = new Map([...'"\\/bfnrt'].map((letter, i) => [
  letter.charCodeAt(0),
  '"\\/\b\f\n\r\t'.charCodeAt(i),
]));

const STRICT = { fatal: true, ignoreBOM: true };
const utf8 = new TextDecoder("utf-8", STRICT);

/** Bytes decoded at a time: decoding 100 MB at once takes three times as much in passing. */
const PIECE_BYTES = 2 ** 20;

/** Says which rule the byte at `offset` of the string breaks. Never returns. */
export type RefuseByte = (rule: string, got: string, offset: number) => never;

/**
 * Decodes what stands between the quotes of a JSON string.
 *
 * @example Usage
 * ```ts
 * import { decodeString } from "./json_string.ts";
 * import assert from "node:assert/strict";
 *
 * const bytes = new TextEncoder().encode("\\u00e9\\n\\ud83d\\ude00");
 * const refuse = (rule: string) => {
 *   throw new SyntaxError(rule);
 * };
 * assert.equal(decodeString(bytes, refuse), "é\n😀");
 * ```
 */
export function decodeString(text: Uint8Array, refuse: RefuseByte): string {
  const plain = text.includes(BACKSLASH) ? unescape(text, refuse) : text;
  try {
    return plain.length <= PIECE_BYTES ? utf8.decode(plain) : decodeLong(plain);
  } catch {
    return refuse("a string in JSON must be UTF-8", "other bytes", 0);
  }
}

function decodeLong(bytes: Uint8Array): string {
  const decoder = new TextDecoder("utf-8", STRICT);
  let text = "";
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    text += decoder.decode(bytes.subarray(at, at + PIECE_BYTES), { stream: true });
  }
  return text + decoder.decode();
}

function unescape(text: Uint8Array, refuse: RefuseByte): Uint8Array {
  const out = new Uint8Array(text.length);
  let length = 0;
  for (let i = 0; i < text.length;) {
    if (text[i] !== BACKSLASH) {
      out[length++] = text[i++];
    } else if (text[i + 1] === LETTER_U) {
      const point = codePoint(text, i, refuse);
      length = putUtf8(point, out, length);
      i += point > 0xffff ? 12 : 6;
    } else {
      const byte = ESCAPES.get(text[i + 1]);
      if (byte === undefined) {
        return refuse("an escape in JSON must be a known one", "another", i);
      }
      out[length++] = byte;
      i += 2;
    }
  }
  return out.subarray(0, length);
}

/** The code point of the \uXXXX, or of the surrogate pair, at text[i]. */
function codePoint(text: Uint8Array, i: number, refuse: RefuseByte): number {
  const high = fourDigits(text, i);
  if (high < 0) return refuse("\\u in JSON must have four hex digits", "other", i);
  if (high < 0xd800 || high > 0xdfff) return high;
  const low = fourDigits(text, i + 6);
  if (high > 0xdbff || low < 0xdc00 || low > 0xdfff) {
    return refuse("a surrogate escape in JSON must stand in a pair", "a lone one", i);
  }
  return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/** The value of \uXXXX at text[i], or -1 when there is none. */
function fourDigits(text: Uint8Array, i: number): number {
  if (text[i] !== BACKSLASH || text[i + 1] !== LETTER_U) return -1;
  let value = 0;
  for (let at = i + 2; at < i + 6; at++) {
    const digit = hexDigit(text[at]);
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** Writes a code point as UTF-8 at out[at]; gives the place after it. */
function putUtf8(point: number, out: Uint8Array, at: number): number {
  if (point < 0x80) {
    out[at++] = point;
    return at;
  }
  const tails = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  out[at++] = ([0, 0xc0, 0xe0, 0xf0][tails]) | (point >> (6 * tails));
  for (let tail = tails - 1; tail >= 0; tail--) out[at++] = 0x80 | ((point >> (6 * tail)) & 0x3f);
  return at;
}
