/**
 * The bench's command line, read: what is wrong with it is wrong usage, told in one line.
 *
 * @module
 */
import { accessSync, constants, statSync } from "node:fs";
import { dirname } from "node:path";
import { type Accuracy, type Binding, bindings } from "../lib/device.ts";
import { formatNames } from "../lib/format.ts";
import { nearest } from "../lib/nearest.ts";
import type { Group } from "../lib/pack.ts";
import { type Args, parseArgs } from "../lib/parse_args.ts";
import {
  callersPath,
  oneLine,
  readAccuracy,
  readGroup,
  readNumber,
  readOneOf,
  text,
  UsageError,
} from "../lib/read_options.ts";
import { quote } from "../lib/strict_json.ts";
import { type TuneMode, tuneModes } from "../lib/tuning.ts";
import { type Model, models, projections, type Shape, shapes } from "./shapes.ts";
import { readStored } from "./stored.ts";

/** What is timed, in the order of importance. */
export const cases = ["copy", "empty", "matvec", "decode", "small-batch", "matmul"] as const;
export type Case = typeof cases[number];

/** What the command line says; undefined is what it leaves open. */
export interface BenchOptions {
  readonly only?: Case;
  /** Formats with their side, f16 or f32. */
  readonly formats?: readonly string[];
  readonly shapes?: readonly Shape[];
  /** Models named among the shapes, for `decode`. */
  readonly models?: readonly Model[];
  readonly batches?: readonly number[];
  readonly group: Group;
  readonly rounds?: number;
  readonly json?: string;
  readonly all: boolean;
  readonly fast: boolean;
  readonly accuracy: Accuracy;
  /** Whether matrix units multiply where there are any. */
  readonly matrixUnits: boolean;
  /** Where tilings come from. */
  readonly tune: TuneMode;
  readonly binding?: Binding;
}

/** `bench report`, read. */
export interface ReportOptions {
  readonly files: readonly string[];
  readonly out: string;
}

export const help = `bench [--only CASE] [--formats a,b] [--shapes 4096x4096,llama-2-7b]
bench report A.json B.json [--out DIR]

Times products on the GPU against dense f16, against one scale, and against two rivals, in interleaved
rounds, each kernel first checked. Without arguments: the 7B shapes and one MLP of 70B, fp4, nf4, int4
and nf3, batches 1, 8, 64, 512, most important first, for 10 minutes.

  --only CASE        copy, empty, matvec (batch 1-2), decode (all linears of a token), small-batch
                     (3-32) or matmul (more)
  --formats LIST     such as fp4,nf4-asym,f16; without a side both; NAME/SCALES/GROUP has coded
                     scales and groups of its own, such as lloyd4g32-asym/e1m3-row/32
  --shapes LIST      ROWSxCOLS, or names: ${models.map(({ name }) => name).join(", ")}, or one
                     layer's, such as llama-2-7b.down
  --batches LIST     tokens at once
  --group N          columns that share scales: 16, 32, 64, 128, 256 or row; 128 unless told
  --rounds N         of all variants side by side; 25 unless told, 15 where the CPU plays the GPU
  --json FILE        every number
  --all              every shape and format, however long it takes
  --strict           a device without Dawn's toggles; unless told, --fast
  --accuracy NAME    exact, or fast: packed weights times a token or two in f16 arithmetic or,
                     where that takes fewer instructions, with 8-bit activations
  --matrix-units     three tokens and more, packed and dense f16, by the GPU's matrix units
  --tune MODE        kernels as they suit most devices (off), as measured before (cached, unless
                     told), or as measured first, which is kept (now)
  --binding NAME     ${bindings.filter((name) => name !== "cpu").join(", ")}; also --device
  -h, --help         this text

report makes one table of several machines' files, and in DIR (the current one unless told)
roofline.svg and speedup.svg.`;

const STRINGS = [
  "only",
  "formats",
  "shapes",
  "batches",
  "group",
  "rounds",
  "json",
  "tune",
  "accuracy",
];
const FLAGS = ["all", "fast", "strict", "matrix-units", "help"];

/** Reads the flags of a run; null is a request for help. */
export function readBenchOptions(args: readonly string[]): BenchOptions | null {
  const parsed = parse(args, [...STRINGS, "binding", "device"], FLAGS);
  if (parsed.help) return null;
  if (parsed._.length > 0) refuse(parsed._[0], "command", ["report"]);
  const named = listOf(parsed, "shapes", (word) => word);
  const only = readOneOf("only", text(parsed.only), cases);
  return {
    only,
    formats: listOf(parsed, "formats", formatsOf),
    shapes: named && listOf(parsed, "shapes", shapesOf),
    models: named && models.filter(({ name }) => named.includes(name)),
    batches: listOf(parsed, "batches", (word) => batchOf(word)),
    group: readGroup(text(parsed.group) ?? "128"),
    rounds: readNumber(parsed, "rounds", { least: 3, most: 10_000 }),
    json: readJsonPath(parsed),
    all: parsed.all === true,
    fast: readFast(parsed),
    accuracy: readAccuracy(parsed) ?? "exact",
    matrixUnits: readMatrixUnits(parsed),
    tune: readOneOf("tune", text(parsed.tune), tuneModes) ?? "cached",
    binding: readOneOf("binding", text(parsed.binding) ?? text(parsed.device), bindings),
  };
}

/** Whether matrix units are asked for, which Dawn shows to a device with its toggles alone. */
function readMatrixUnits(parsed: Args): boolean {
  if (parsed["matrix-units"] && parsed.strict) {
    throw new UsageError(
      "Cannot run as --matrix-units must have a device with Dawn's toggles: got --strict",
    );
  }
  return parsed["matrix-units"] === true;
}

/** Whether the device has Dawn's toggles: unless `--strict`. */
export function readFast(parsed: Args): boolean {
  if (parsed.fast && parsed.strict) {
    throw new UsageError("Cannot run as the device must be --fast or --strict: got both");
  }
  return parsed.strict !== true;
}

/** The file of `--json`, which can be written: known now, not once everything is timed. */
export function readJsonPath(parsed: Args): string | undefined {
  if (parsed.json === undefined) return undefined;
  const path = callersPath(text(parsed.json)!);
  const known = statSync(path, { throwIfNoEntry: false });
  try {
    if (known?.isDirectory()) throw new Error("a folder");
    accessSync(known ? path : dirname(path), constants.W_OK);
  } catch (error) {
    throw new UsageError(
      `Cannot write ${quote(path)} as --json must name a file in a folder that is there: got ${
        oneLine(error)
      }`,
    );
  }
  return path;
}

/** Reads the words of a report. */
export function readReportOptions(args: readonly string[]): ReportOptions | null {
  const parsed = parse(args, ["out"], ["help"]);
  if (parsed.help) return null;
  if (parsed._.length === 0) {
    throw new UsageError("Cannot make a report as files must be given: got none");
  }
  return { files: parsed._.map(callersPath), out: callersPath(text(parsed.out) ?? ".") };
}

/** What `bench:tuning` is asked. */
export interface TuningOptions {
  readonly shapes: readonly Shape[];
  readonly formats: readonly string[];
  readonly batches: readonly number[];
  readonly rounds: number;
  /** Whether choices of the cache count. */
  readonly tune: "cached" | "now";
  readonly fast: boolean;
  readonly accuracy: Accuracy;
  readonly matrixUnits: boolean;
  readonly binding?: Binding;
}

export const tuningHelp = `bench:tuning [--shapes 4096x4096,..] [--formats a,b] [--batches 1,8,64]

Measures what tuning chose once more, beside every other way to cut up the same product.

  --shapes LIST      ROWSxCOLS, or names as bench has them
  --formats LIST     fp4-asym,nf4-asym,f16 unless told
  --batches LIST     tokens at once
  --rounds N         of all ways side by side, 21 unless told
  --tune MODE        cached: what the cache has, tuned where it has nothing; now: all tuned first
  --accuracy NAME    exact or fast, as bench has it
  --matrix-units     as bench has it
  --strict           a device without Dawn's toggles; unless told, --fast
  --binding NAME     ${bindings.filter((name) => name !== "cpu").join(", ")}
  -h, --help         this text`;

/** Reads the flags of `bench:tuning`; null for `--help`. */
export function readTuningOptions(args: readonly string[]): TuningOptions | null {
  const strings = ["shapes", "formats", "batches", "rounds", "tune", "accuracy", "binding"];
  const parsed = parse(args, strings, ["fast", "strict", "matrix-units", "help"]);
  if (parsed.help) return null;
  if (parsed._.length > 0) refuse(parsed._[0], "word of bench:tuning", []);
  return {
    shapes: listOf(parsed, "shapes", shapesOf) ?? shapesOf("4096x4096"),
    formats: listOf(parsed, "formats", formatsOf) ?? ["fp4-asym", "nf4-asym", "f16"],
    batches: listOf(parsed, "batches", batchOf) ?? [1, 8, 64],
    rounds: readNumber(parsed, "rounds", { least: 4, most: 10_000 }) ?? 21,
    tune: readOneOf("tune", text(parsed.tune), ["cached", "now"] as const) ?? "cached",
    fast: readFast(parsed),
    accuracy: readAccuracy(parsed) ?? "exact",
    matrixUnits: readMatrixUnits(parsed),
    binding: readOneOf("binding", text(parsed.binding), bindings),
  };
}

/** Reads flags, those that take a text and those that do not; another one is refused. */
export function parse(args: readonly string[], string: string[], boolean: string[]): Args {
  const flags = [...string, ...boolean].map((flag) => `--${flag}`);
  const parsed = parseArgs(args, {
    string: ["_", ...string],
    boolean,
    alias: { help: "h" },
    unknown: (word, key) => key === undefined || refuse(word, "flag of bench", flags),
  });
  const empty = string.find((flag) => parsed[flag] === "");
  if (empty) throw new UsageError(`Cannot run as --${empty} must have a value: got none`);
  return parsed;
}

export function refuse(word: string, kind: string, right: readonly string[]): never {
  const near = nearest(word, right);
  const hint = near === undefined ? "there are none" : `did you mean ${quote(near)}?`;
  throw new UsageError(`Cannot understand ${quote(word)} as a ${kind}: ${hint}`);
}

/** What the words of a list stand for, each once; undefined where the flag is not given. */
export function listOf<T>(
  parsed: Args,
  flag: string,
  meaning: (word: string) => T | T[],
): T[] | undefined {
  const list = text(parsed[flag]);
  return list === undefined ? undefined : [...new Set(wordsOf(list).flatMap(meaning))];
}

/** Words between commas; those of `custom:-1,0,1-asym` belong to it. */
function wordsOf(list: string): string[] {
  const words: string[] = [];
  for (const piece of list.split(",")) {
    const last = words.at(-1) ?? "";
    if (last.startsWith("custom:") && !/-a?sym/.test(last)) words[words.length - 1] += `,${piece}`;
    else words.push(piece);
  }
  return words;
}

/** A format, both of its sides where none is named, or f16 or f32. */
function formatsOf(word: string): string[] {
  if (word === "f16" || word === "f32") return [word];
  const [name, ...stored] = word.split("/");
  const sides = formatNames.includes(`${name}-sym`) ? [`${name}-sym`, `${name}-asym`] : [name];
  return sides.map((side) => readStored([side, ...stored].join("/")));
}

/** Shapes of a word: a model's, a named one, or ROWSxCOLS. */
export function shapesOf(word: string): Shape[] {
  const model = models.find(({ name }) => name === word);
  if (model) return projections(model);
  const named = shapes.find(({ name }) => name === word);
  if (named) return [named];
  const [, rows, cols] = /^(\d+)x(\d+)$/i.exec(word) ?? [];
  const most = Math.max(Number(rows), Number(cols));
  if (Number(rows) > 0 && Number(cols) > 0 && Number(cols) % 8 === 0 && most < 2 ** 24) {
    return [{ name: "", rows: Number(rows), cols: Number(cols) }];
  }
  throw new UsageError(
    `Cannot read ${quote(word)} as a shape must be ROWSxCOLS, columns a multiple of 8, or one of ${
      models.map(({ name }) => name).join(", ")
    } and their layers: did you mean ${
      quote(nearest(word, [...models, ...shapes].map(({ name }) => name))!)
    }?`,
  );
}

/** A number of tokens. */
export function batchOf(word: string): number {
  const batch = /^\d+$/.test(word) ? Number(word) : 0;
  if (batch >= 1 && batch <= 8192) return batch;
  throw new UsageError(
    `Cannot read ${quote(word)} as a batch must be a whole number from 1 to 8192: got ${
      quote(word)
    }`,
  );
}
