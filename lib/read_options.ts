/**
 * Reads flags' values: what is wrong with one is wrong usage, told with the nearest right spelling.
 *
 * @module
 */
import { constants, isUtf8 } from "node:buffer";
import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { accuracies, type Accuracy, type Binding, bindings } from "./device.ts";
import { type Format, format as formatOf, formatNames } from "./format.ts";
import { nearest } from "./nearest.ts";
import { type Group, groups } from "./pack.ts";
import type { Args } from "./parse_args.ts";
import type { RecipeOptions } from "./choose_recipes.ts";
import { readEnvironment } from "./permission.ts";
import { scaleFormat } from "./scale_format.ts";
import { quote } from "./strict_json.ts";

/** Wrong usage: exit code 2. */
export class UsageError extends Error {}

/** An error's message on one line. */
export function oneLine(error: unknown): string {
  const message = error instanceof Error ? error.message || error.name : String(error);
  return message.replace(/\s*[\r\n]+\s*/g, " ");
}

/** The value of a flag, undefined where it is not given. */
export function text(flag: Args[string]): string | undefined {
  return typeof flag === "string" ? flag : undefined;
}

/** A format by its name. */
export function readFormat(name: string): Format {
  try {
    return formatOf(name);
  } catch (error) {
    const hint = /^custom:|^e\d+m\d+-/i.test(name) || oneLine(error).includes("did you mean")
      ? ""
      : `; did you mean ${quote(nearest(name, formatNames)!)}?`;
    throw new UsageError(oneLine(error) + hint, { cause: error });
  }
}

/** A group: columns that share scales. */
export function readGroup(word: string): Group {
  const group = groups.find((group) => String(group) === word);
  if (group !== undefined) return group;
  const steps = (group: Group) => Math.abs(Math.log2(Number(group) / Number(word)));
  const near = Number(word) > 0
    ? groups.reduce((a, b) => steps(b) < steps(a) ? b : a)
    : nearest(word, groups.map(String));
  throw new UsageError(
    `Cannot read ${quote(word)} as --group must be one of ${
      groups.join(", ")
    }: did you mean "${near}"?`,
  );
}

/** How to store and choose scales, and levels. */
export function readRecipe(
  parsed: Args,
): Pick<RecipeOptions, "scales" | "clip" | "codebook" | "bits"> {
  const bits = readNumber(parsed, "bits", { least: 3, most: 6, whole: false });
  for (const flag of bits === undefined ? [] : ["format", "group", "scales", "clip"]) {
    if (parsed[flag] === undefined || parsed[flag] === false) continue;
    throw new UsageError(`Cannot take --${flag} as --bits must choose it: got both`);
  }
  const scales = text(parsed.scales);
  return {
    bits,
    scales: scales === undefined ? undefined : readScales(scales),
    clip: parsed.clip === true,
    codebook: readOneOf("codebook", text(parsed.codebook), ["lloyd", "special"]),
  };
}

function readScales(word: string): NonNullable<RecipeOptions["scales"]> {
  if (word === "4" || word === "8") return word === "4" ? 4 : 8;
  try {
    return scaleFormat(word);
  } catch (error) {
    throw new UsageError(`${oneLine(error)}, or 4 or 8`, { cause: error });
  }
}

/** One of some words. */
export function readOneOf<T extends string>(
  flag: string,
  word: string | undefined,
  right: readonly T[],
): T | undefined {
  if (word === undefined || right.includes(word as T)) return word as T | undefined;
  throw new UsageError(
    `Cannot read ${quote(word)} as --${flag} must be one of ${right.join(", ")}: did you mean ${
      quote(nearest(word, right)!)
    }?`,
  );
}

/** The device that `--binding` names. */
export function readBinding(parsed: Args): Binding | undefined {
  return readOneOf("binding", text(parsed.binding), bindings);
}

/** The accuracy that `--accuracy` names. */
export function readAccuracy(parsed: Args): Accuracy | undefined {
  return readOneOf("accuracy", text(parsed.accuracy), accuracies);
}

/** What a number may be. */
export interface NumberRule {
  readonly least: number;
  readonly most?: number;
  /** Whether it must be whole; so unless told. */
  readonly whole?: boolean;
}

/** A number, undefined where the flag is not given. */
export function readNumber(parsed: Args, flag: string, rule: NumberRule): number | undefined {
  const word = text(parsed[flag]);
  if (word === undefined) return undefined;
  const { least, most = Number.MAX_SAFE_INTEGER, whole = true } = rule;
  const value = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(word) ? Number(word) : NaN;
  if (value >= least && value <= most && (!whole || Number.isInteger(value))) return value;
  const isOpen = rule.most === undefined && !(value > most);
  const range = isOpen ? `of at least ${least}` : `from ${least} to ${most}`;
  throw new UsageError(
    `Cannot read ${quote(word)} as --${flag} must be a ${
      whole ? "whole number" : "number"
    } ${range}: got ${quote(word)}`,
  );
}

/** A path as the caller means it: `deno task` runs in this project's folder, whatever theirs is. */
export function callersPath(path: string): string {
  const project = import.meta.url.startsWith("file:")
    ? dirname(dirname(fileURLToPath(import.meta.url)))
    : null;
  const caller = readEnvironment("INIT_CWD");
  if (isAbsolute(path) || !caller || process.cwd() !== project || caller === project) return path;
  return resolve(caller, path);
}

/**
 * A text file.
 *
 * @throws {Error} if it cannot be read, is no UTF-8, or is longer than a string can be
 */
export async function readText(path: string): Promise<string> {
  const bytes = await readFile(path).catch((cause) => {
    const got = cause.code === "ENOENT" ? "nothing there" : String(cause.code ?? cause);
    throw new Error(`Cannot read ${quote(path)} as it must be a text file: got ${got}`, { cause });
  });
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    const fault = isUtf8(bytes)
      ? `fit in a string of ${constants.MAX_STRING_LENGTH} characters: got ${bytes.length} bytes`
      : "be UTF-8: got other bytes";
    throw new TypeError(`Cannot read ${quote(path)} as it must ${fault}`, { cause });
  }
}
