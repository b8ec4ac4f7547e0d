/**
 * Regular expressions of tokenizer.json, in Oniguruma's Ruby dialect, as a tree. `pattern.ts` runs it.
 *
 * Understood: literals and escapes, `.`, sets with ranges, nesting, `&&` and `[:alpha:]`, `\p{L}` and
 * scripts, `\s \d \w \h` by Unicode, `^ $ \A \z \Z \b \B`, groups, `(?i: )` and `(?m: )`, look-ahead,
 * look-behind, `(?> )`, quantifiers greedy, lazy and possessive. As there, `x{1,3}+` repeats
 * `x{1,3}`, `^` and `$` are ends of lines, and `.` leaves out only "\n".
 *
 * A set keeps no list of characters: it is written as a set of JavaScript's `v` mode, which knows
 * Unicode, and tried on one character at a time.
 *
 * Left out, and refused: back-references, recursion, conditions, `\G \K \R \X`, octal escapes.
 *
 * @module
 */

/** One node. Sets hold the source of a JavaScript set of `v` mode. */
export type Pattern =
  | { readonly type: "set"; readonly source: string; readonly ignoreCase: boolean }
  | { readonly type: "sequence" | "choice"; readonly items: readonly Pattern[] }
  | {
    readonly type: "repeat";
    readonly item: Pattern;
    readonly min: number;
    readonly max: number;
    readonly kind: "greedy" | "lazy" | "possessive";
  }
  | { readonly type: "ahead" | "behind"; readonly item: Pattern; readonly negative: boolean }
  | { readonly type: "atomic"; readonly item: Pattern }
  | { readonly type: "anchor"; readonly at: Anchor };

/** Places that a pattern can ask for. */
export type Anchor =
  | "line start"
  | "line end"
  | "text start"
  | "text end"
  | "last line end"
  | "word edge"
  | "no word edge";

/** `\w`: what Oniguruma calls a word character. */
export const WORD = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]";

const MAX_CHARACTERS = 10_000;
const MAX_DEPTH = 100;
const MAX_REPEAT = 1000;
const MAX_QUANTIFIERS = 4; // after one item

const ANCHORS: Record<string, Anchor> = {
  "A": "text start",
  "z": "text end",
  "Z": "last line end",
  "b": "word edge",
  "B": "no word edge",
};

/** Escapes that stand for several characters, in sets and outside. */
const SETS: Record<string, string> = {
  s: "\\p{White_Space}",
  S: "\\P{White_Space}",
  d: "\\p{Nd}",
  D: "\\P{Nd}",
  w: WORD,
  W: WORD.replace("[", "[^"),
  h: "[0-9A-Fa-f]",
  H: "[^0-9A-Fa-f]",
};

const CONTROLS: Record<string, number> = { n: 10, r: 13, t: 9, f: 12, v: 11, a: 7, e: 27 };

/** Oniguruma's names of properties that JavaScript spells otherwise. */
const PROPERTIES: Record<string, string> = {
  alpha: "\\p{Alphabetic}",
  alnum: "[\\p{Alphabetic}\\p{Nd}]",
  digit: "\\p{Nd}",
  lower: "\\p{Lowercase}",
  upper: "\\p{Uppercase}",
  space: "\\p{White_Space}",
  blank: "[\\t\\p{Zs}]",
  punct: "[\\p{P}\\p{S}]",
  cntrl: "\\p{Cc}",
  xdigit: "[0-9A-Fa-f]",
  word: WORD,
};

interface Flags {
  ignoreCase: boolean;
  dotAll: boolean;
}

interface Source {
  readonly text: string;
  at: number;
  depth: number;
}

/**
 * Reads a regular expression.
 *
 * @throws {SyntaxError} on what it does not understand, naming the place.
 */
export function parsePattern(text: string): Pattern {
  const source: Source = { text, at: 0, depth: 0 };
  if (text.length > MAX_CHARACTERS) {
    refuse(source, `have at most ${MAX_CHARACTERS} characters`, `${text.length}`);
  }
  const pattern = choice(source, { ignoreCase: false, dotAll: false });
  if (source.at < text.length) refuse(source, 'open its groups before ")"', '")"');
  return pattern;
}

/** Alternatives up to the end of the group. Flags set inside it hold up to its end. */
function choice(source: Source, outer: Flags): Pattern {
  if (++source.depth > MAX_DEPTH) refuse(source, `nest at most ${MAX_DEPTH} deep`, "more");
  const flags = { ...outer };
  const items = [sequence(source, flags)];
  while (take(source, "|")) items.push(sequence(source, flags));
  source.depth--;
  return items.length === 1 ? items[0] : { type: "choice", items };
}

function sequence(source: Source, flags: Flags): Pattern {
  const items: Pattern[] = [];
  while (source.at < source.text.length && !"|)".includes(source.text[source.at])) {
    const item = atom(source, flags);
    if (item !== null) items.push(quantified(source, item));
  }
  return items.length === 1 ? items[0] : { type: "sequence", items };
}

/** An item with the quantifiers after it. */
function quantified(source: Source, item: Pattern): Pattern {
  for (let count = 0;; count++) {
    const rest = source.text.slice(source.at, source.at + 24);
    const [all, sign, low, high] = /^(?:([*+?])|\{(\d*)(?:,(\d*))?\})/.exec(rest) ?? [];
    if (all === undefined || all === "{}" || all === "{,}") return item;
    source.at += all.length;
    const min = sign === undefined ? Number(low) : Number(sign === "+");
    const bare = !all.includes(",");
    const max = sign === undefined
      ? high ? Number(high) : bare ? min : Infinity
      : sign === "?"
      ? 1
      : Infinity;
    if (min > MAX_REPEAT || max < min || (max > MAX_REPEAT && max !== Infinity)) {
      refuse(source, `repeat 0 to ${MAX_REPEAT} times, upwards`, all);
    }
    const kind = take(source, "?")
      ? "lazy"
      : sign !== undefined && take(source, "+")
      ? "possessive"
      : "greedy";
    if (count === MAX_QUANTIFIERS) refuse(source, `repeat an item ${count} times over`, all);
    item = { type: "repeat", item, min, max, kind };
  }
}

/** One item; null for what only sets flags or is a comment. */
function atom(source: Source, flags: Flags): Pattern | null {
  const character = next(source);
  if (character === "(") return group(source, flags);
  if (character === "[") return set(setSource(source), flags);
  if (character === "\\") return escape(source, flags);
  if (character === ".") return set(flags.dotAll ? "[\\p{Any}]" : "[^\\n]", flags);
  if (character === "^") return { type: "anchor", at: "line start" };
  if (character === "$") return { type: "anchor", at: "line end" };
  if ("*+?".includes(character)) refuse(source, "repeat something", quote(character));
  return set(`[${literal(character)}]`, flags);
}

function group(source: Source, flags: Flags): Pattern | null {
  const rest = source.text.slice(source.at, source.at + 80);
  const [all] = /^\?(?:[:=!>]|<[=!]|<[A-Za-z_]\w*>|#[^)]*|[a-z]*(?:-[a-z]+)?[:)])|^/.exec(rest)!;
  if (all === "" && rest.startsWith("?")) {
    refuse(source, "have groups it knows", quote(rest.slice(0, 4)));
  }
  source.at += all.length;
  const changed = /^\?([a-z]*)(?:-([a-z]+))?[:)]$/.exec(all);
  const own = changed ? withFlags(source, flags, changed[1], changed[2] ?? "") : flags;
  if (all.startsWith("?#")) return close(source, null);
  if (all.endsWith(")")) {
    Object.assign(flags, own);
    return null;
  }
  const item = choice(source, own);
  if (/^\?<?[=!]$/.test(all)) {
    const type = all.includes("<") ? "behind" : "ahead";
    return close(source, { type, item, negative: all.endsWith("!") });
  }
  return close(source, all === "?>" ? { type: "atomic", item } : item);
}

function withFlags(source: Source, flags: Flags, on: string, off: string): Flags {
  const unknown = (on + off).replace(/[im]/g, "");
  if (unknown) refuse(source, "have the flags i and m alone", quote(unknown[0]));
  return {
    ignoreCase: (flags.ignoreCase || on.includes("i")) && !off.includes("i"),
    dotAll: (flags.dotAll || on.includes("m")) && !off.includes("m"),
  };
}

function close<T>(source: Source, item: T): T {
  if (!take(source, ")")) refuse(source, "close its groups", "its end");
  return item;
}

/** An escape outside sets; its backslash is read. */
function escape(source: Source, flags: Flags): Pattern {
  const anchor = ANCHORS[source.text[source.at]];
  if (anchor === undefined) return set(`[${escaped(source)}]`, flags);
  source.at++;
  return { type: "anchor", at: anchor };
}

/** What an escape stands for within a set; its backslash is read. */
function escaped(source: Source): string {
  const character = next(source);
  if (Object.hasOwn(SETS, character)) return SETS[character];
  if (Object.hasOwn(CONTROLS, character)) return code(CONTROLS[character]);
  const rest = source.text.slice(source.at, source.at + 64);
  const [all, braced, plain] =
    (character === "x"
      ? /^(?:\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{1,2}))/
      : character === "u"
      ? /^()([0-9A-Fa-f]{4})/
      : /^(\{\^?[\w =]+\})/).exec(rest) ?? [];
  if (/[xupP]/.test(character) && all !== undefined) {
    source.at += all.length;
    if (/[pP]/.test(character)) return property(source, braced.slice(1, -1), character === "P");
    const value = parseInt(braced || plain, 16);
    if (value > 0x10ffff) refuse(source, "name characters of Unicode", quote(all));
    return code(value);
  }
  if (/[A-Za-z0-9]/.test(character)) refuse(source, "have escapes it knows", `\\${character}`);
  return literal(character);
}

/** `\p{name}` by JavaScript's names, Oniguruma's, or as a script. */
function property(source: Source, name: string, negative: boolean): string {
  const inverse = name.startsWith("^") !== negative;
  const bare = name.replace("^", "").trim().replaceAll(" ", "_");
  const spelled = PROPERTIES[bare.toLowerCase()] ??
    [`\\p{${bare}}`, `\\p{Script=${bare}}`].find((text) => isSet(text));
  if (spelled === undefined) refuse(source, "name properties of Unicode", quote(bare));
  return inverse ? `[^${spelled}]` : spelled;
}

/** A set up to its bracket; the opening one is read. */
function setSource(source: Source): string {
  if (++source.depth > MAX_DEPTH) refuse(source, `nest at most ${MAX_DEPTH} deep`, "more");
  const negative = take(source, "^");
  const operands = [""];
  for (let first = true;; first = false) {
    if (source.at >= source.text.length) refuse(source, "close its sets", "its end");
    if (!first && take(source, "]")) break;
    if (source.text.startsWith("&&", source.at)) {
      source.at += 2;
      operands.push("");
    } else operands[operands.length - 1] += setItem(source);
  }
  source.depth--;
  const body = operands.length === 1 ? operands[0] : operands.map((o) => `[${o}]`).join("&&");
  return `[${negative ? "^" : ""}${body}]`;
}

/** One member of a set, or a range of characters. */
function setItem(source: Source): string {
  const named = /^\[:(\^?)([a-z]+):\]/.exec(source.text.slice(source.at, source.at + 16));
  if (named && Object.hasOwn(PROPERTIES, named[2])) {
    source.at += named[0].length;
    return named[1] ? `[^${PROPERTIES[named[2]]}]` : PROPERTIES[named[2]];
  }
  const low = setMember(source);
  const after = source.text[source.at + 1];
  if (source.text[source.at] !== "-" || after === undefined || after === "]") return low;
  if (!low.startsWith("\\u{") || after === "[") return low;
  source.at++;
  const high = setMember(source);
  if (!high.startsWith("\\u{")) return low + literal("-") + high;
  if (!isSet(`[${low}-${high}]`)) refuse(source, "have ranges that go up", "one that goes down");
  return `${low}-${high}`;
}

function setMember(source: Source): string {
  const character = next(source);
  if (character === "[") return setSource(source);
  return character === "\\" ? escaped(source) : literal(character);
}

function set(source: string, { ignoreCase }: Flags): Pattern {
  return { type: "set", source, ignoreCase };
}

function isSet(text: string): boolean {
  try {
    return Boolean(new RegExp(text, "v"));
  } catch {
    return false;
  }
}

function literal(character: string): string {
  return code(character.codePointAt(0)!);
}

function code(point: number): string {
  return `\\u{${point.toString(16)}}`;
}

function next(source: Source): string {
  const point = source.text.codePointAt(source.at);
  if (point === undefined) return refuse(source, "end after an item", "its end");
  const character = String.fromCodePoint(point);
  source.at += character.length;
  return character;
}

function take(source: Source, character: string): boolean {
  if (source.text[source.at] !== character) return false;
  source.at++;
  return true;
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 24));
}

function refuse(source: Source, rule: string, got: string): never {
  throw new SyntaxError(
    `Cannot read a regular expression as it must ${rule}: got ${got} at character ${source.at}`,
  );
}
