/**
 * Command line arguments, in the call shape of `@std/cli/parse-args`, over `parseArgs` of `node:util`.
 *
 * This file is a seam: `@std/cli` is published on JSR only. Where JSR can be reached, this whole
 * file is one line, and nothing else changes:
 *
 *   export { parseArgs } from "jsr:@std/cli/parse-args";
 *
 * Only what both sides do alike is offered: `string`, `boolean`, `collect`, `alias`, `default` and
 * `unknown`; `--key value`, `--key=value`, `-k value`, `--` before words that are no flags. A string
 * flag with nothing after it, or with another flag after it, is "". Left out: dotted keys, negatable
 * flags, `stopEarly`, numbers (list `"_"` under `string` and the two agree on words too).
 *
 * @module
 */
import { parseArgs as parseTokens } from "node:util";

/** The part of std's `ParseOptions` that the seam honours. */
export interface ParseOptions {
  readonly string?: readonly string[];
  readonly boolean?: readonly string[];
  readonly collect?: readonly string[];
  readonly alias?: Readonly<Record<string, string | readonly string[]>>;
  readonly default?: Readonly<Record<string, string | boolean>>;
  /**
   * Called for every word, every flag that is not listed, and every `boolean` one with a value that is
   * neither true nor false, which std takes for true; `false` leaves it out.
   */
  readonly unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** `_`: the words that are no flags. Left out, a `boolean` flag is false, a `collect` one []. */
export interface Args {
  _: string[];
  [key: string]: string | boolean | string[] | undefined;
}

/**
 * Arguments as an object.
 *
 * @example
 * ```ts
 * import { parseArgs } from "./parse_args.ts";
 * import assert from "node:assert/strict";
 *
 * const args = parseArgs(["model", "-o", "out", "--json"], {
 *   string: ["_", "out"],
 *   boolean: ["json"],
 *   alias: { out: "o" },
 * });
 * assert.deepEqual({ ...args }, { _: ["model"], out: "out", json: true });
 * ```
 */
export function parseArgs(args: readonly string[], options: ParseOptions = {}): Args {
  const strings = new Set((options.string ?? []).filter((key) => key !== "_"));
  const booleans = new Set(options.boolean);
  const given = givenValues(args, strings, aliases(options));
  const { tokens } = parseTokens({
    args: given,
    options: Object.fromEntries([
      ...[...strings].map((key) => [key, { type: "string" as const }]),
      ...[...booleans].map((key) => [key, { type: "boolean" as const }]),
    ]),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const parsed = defaults(options);
  for (const token of tokens) {
    if (token.kind === "positional") addWord(parsed, token.value, options);
    if (token.kind !== "option") continue;
    const isBoolean = booleans.has(token.name);
    const isOdd = isBoolean && ![undefined, "true", "false"].includes(token.value);
    const known = strings.has(token.name) || (isBoolean && !isOdd);
    const value = isBoolean ? token.value !== "false" : token.value ?? true;
    const short = !token.rawName.startsWith("--"); // of "-abc" the whole is told
    const word = short || isOdd ? given[token.index] : token.rawName;
    if (!known && options.unknown?.(word, token.name, value) === false) continue;
    if (!options.collect?.includes(token.name)) parsed[token.name] = value;
    else (parsed[token.name] as string[]).push(String(value));
  }
  return parsed;
}

/** From every spelling to the one the caller lists: std takes the table in either direction. */
function aliases({ alias = {}, string = [], boolean = [] }: ParseOptions): Map<string, string> {
  const listed = new Set([...string, ...boolean]);
  const canonical = new Map<string, string>();
  for (const [key, others] of Object.entries(alias)) {
    const names = [key, ...[others].flat()];
    const target = names.find((name) => listed.has(name)) ?? key;
    for (const name of names) canonical.set(name, target);
  }
  return canonical;
}

/** The arguments with aliases written out and every string flag's value joined to it by "=". */
function givenValues(
  args: readonly string[],
  strings: ReadonlySet<string>,
  canonical: ReadonlyMap<string, string>,
): string[] {
  const out: string[] = [];
  for (let i = 0; i < args.length; i++) {
    if (args[i] === "--") return out.concat(args.slice(i));
    const [, dashes, name, value] = /^(--?)([^-=][^=]*)(?:=([^]*))?$/.exec(args[i]) ?? [];
    const key = canonical.get(name) ?? name;
    const known = dashes === "--" || canonical.has(name);
    if (!known) {
      out.push(args[i]);
    } else if (value !== undefined || !strings.has(key)) {
      out.push(value === undefined ? `--${key}` : `--${key}=${value}`);
    } else {
      out.push(`--${key}=${isValue(args[i + 1]) ? args[++i] : ""}`);
    }
  }
  return out;
}

/** Whether a word may be the value of the flag before it: "-" and negative numbers may. */
function isValue(word: string | undefined): boolean {
  return word !== undefined && (!word.startsWith("-") || word === "-" || /^-\.?\d/.test(word));
}

function defaults(options: ParseOptions): Args {
  const parsed: Args = { _: [] };
  for (const key of options.boolean ?? []) parsed[key] = false;
  for (const key of options.collect ?? []) parsed[key] = [];
  return Object.assign(parsed, options.default);
}

function addWord(parsed: Args, word: string, { unknown }: ParseOptions): void {
  if (unknown?.(word) !== false) parsed._.push(word);
}
