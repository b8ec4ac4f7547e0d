/**
 * The command line `afpq`. The only file that prints or exits.
 *
 *   stdout   results: a table and a line, or one JSON document with --json
 *   stderr   one line on what failed and why, progress on a terminal, what is being fetched
 *   exit     0 done, 1 refused or failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM
 *
 * Relative paths are the caller's: under `deno task`, which changes to this folder, those of
 * INIT_CWD.
 *
 * @module
 */
import process from "node:process";
import manifest from "../package.json" with { type: "json" };
import { aliases, type CommandName, commands, commonFlags, generalHelp } from "./command.ts";
import type { CommandContext, CommandResult } from "./command.ts";
import { checkCommand } from "./command_check.ts";
import { compareCommand, readCompareOptions } from "./command_compare.ts";
import { dequantizeCommand } from "./command_dequantize.ts";
import { type DeviceRow, devices } from "./command_devices.ts";
import { evalCommand, readEvalOptions } from "./command_eval.ts";
import { generateCommand, readGenerateOptions } from "./command_generate.ts";
import { inspectCommand } from "./command_inspect.ts";
import { quantizeCommand, readCalibration } from "./command_quantize.ts";
import { verifyCommand } from "./command_verify.ts";
import type { FloatDtype } from "./float16.ts";
import { nearest } from "./nearest.ts";
import { abandonAllSync } from "./output_folder.ts";
import { type Args, parseArgs } from "./parse_args.ts";
import { readEnvironment } from "./permission.ts";
import { createProgress, printable } from "./progress.ts";
import {
  callersPath,
  oneLine,
  readAccuracy,
  readBinding,
  readFormat,
  readGroup,
  readOneOf,
  readRecipe,
  text,
  UsageError,
} from "./read_options.ts";
import { renderTable } from "./report.ts";
import { quote } from "./strict_json.ts";
import { tuneModes } from "./tuning.ts";

/** Runs the command line; gives the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const debug = args.includes("--debug");
  try {
    return await dispatch(args);
  } catch (error) {
    say(debug ? String((error as Error).stack ?? error) : oneLine(error));
    return error instanceof UsageError ? 2 : 1;
  }
}

async function dispatch(args: readonly string[]): Promise<number> {
  const [first, ...rest] = args;
  if (first === undefined) {
    say(generalHelp);
    return 2;
  }
  if (first === "--version") return print(`afpq ${manifest.version}\n`);
  if (first === "--help" || first === "-h" || (first === "help" && rest.length === 0)) {
    return print(`${generalHelp}\n`);
  }
  const name = commandName(first === "help" ? rest[0] : first);
  const parsed = parse(name, first === "help" ? ["--help"] : rest);
  if (parsed.help) return print(`${commands[name].help}\n`);
  expectWords(name, parsed);
  return await run(name, parsed);
}

function commandName(word: string): CommandName {
  if (Object.hasOwn(commands, word)) return word as CommandName;
  throw new UsageError(unknownWord(word, "command", Object.keys(commands)));
}

function unknownWord(word: string, kind: string, right: readonly string[]): string {
  return `Cannot understand ${quote(word)} as a ${kind}: did you mean ${
    quote(nearest(word, right)!)
  }?`;
}

/** Flags and words of a command; an unknown flag is refused with the nearest right spelling. */
function parse(name: CommandName, args: readonly string[]): Args {
  const { string, boolean, collect } = commands[name];
  const flags = [...string, ...boolean, ...commonFlags].map((flag) => `--${flag}`);
  return parseArgs(args, {
    string: ["_", ...string],
    boolean: [...boolean, ...commonFlags],
    collect,
    alias: aliases,
    unknown(word, key) {
      if (key === undefined) return true;
      const short = Object.values(aliases).map((letter) => `-${letter}`);
      const right = word.startsWith("--") ? flags : [...short, ...flags];
      throw new UsageError(unknownWord(word, `flag of ${name}`, right));
    },
  });
}

/** Refuses words that are missing or too many, and flags without their value. */
function expectWords(name: CommandName, parsed: Args): void {
  const { words, string, required } = commands[name];
  const fail = (rule: string, got: string): never => {
    throw new UsageError(`Cannot run ${name} as ${rule}: got ${got}; see afpq ${name} --help`);
  };
  const missing = words[parsed._.length];
  if (missing !== undefined) fail(`${missing} must be given`, "none");
  const extra = parsed._[words.length];
  if (extra !== undefined) {
    fail(`it takes ${words.join(" ") || "no words"}`, `also ${quote(extra)}`);
  }
  for (const flag of string) {
    const given = [parsed[flag]].flat();
    if (given.includes("")) fail(`--${flag} must have a value`, "none");
    if (required.includes(flag) && given[0] === undefined) fail(`--${flag} must be given`, "none");
  }
}

/** Runs a command, with Ctrl-C, progress and printing around it. */
async function run(name: CommandName, parsed: Args): Promise<number> {
  const act = actionOf(name, parsed);
  const terminal = process.stderr.isTTY === true;
  const progress = createProgress({
    write: (text) => void process.stderr.write(text),
    terminal: terminal && !parsed.quiet,
    columns: () => process.stderr.columns,
    color: !readEnvironment("NO_COLOR"),
  });
  const stop = catchSignals();
  const out = createTeller();
  try {
    const result = await act({
      signal: stop.signal,
      onProgress: progress.update,
      log: (line) => {
        progress.finish();
        if (!parsed.quiet) say(line);
      },
      onText: (piece) => {
        progress.finish();
        if (!parsed.json) out.tell(piece.replace(/[^\n\t]+/g, printable));
      },
    });
    await out.end();
    progress.finish();
    const code = await show(result, parsed);
    return result.stopped ? stop.exitCode() : code;
  } catch (error) {
    progress.finish();
    if (!stop.signal.aborted) throw error;
    say("Stopped, and nothing half-written is left");
    return stop.exitCode();
  } finally {
    stop.forget();
  }
}

type Action = (context: CommandContext) => Promise<CommandResult>;

/** A command with its options read: what is wrong with them is wrong usage. */
function actionOf(name: CommandName, parsed: Args): Action {
  const path = callersPath(parsed._[0] ?? "");
  const out = callersPath(text(parsed.out) ?? "");
  const force = parsed.force === true;
  switch (name) {
    case "quantize": {
      const options = {
        model: path,
        out,
        force,
        dryRun: parsed["dry-run"] === true,
        format: readFormat(text(parsed.format) ?? "nf4-asym"),
        group: readGroup(text(parsed.group) ?? "128"),
        ...readRecipe(parsed),
        include: parsed.include as string[],
        exclude: parsed.exclude as string[],
        calibration: readCalibration(parsed),
      };
      return (context) => quantizeCommand(options, context);
    }
    case "inspect":
      return () => inspectCommand({ path });
    case "verify":
      return (context) => verifyCommand({ path }, context);
    case "dequantize": {
      const dtype = readOneOf("dtype", text(parsed.dtype), ["bf16", "f16", "f32"]);
      const options = { path, out, force, dtype: dtype?.toUpperCase() as FloatDtype | undefined };
      return (context) => dequantizeCommand(options, context);
    }
    case "check": {
      const options = {
        path,
        binding: readBinding(parsed),
        fast: parsed.fast === true,
        accuracy: readAccuracy(parsed),
        matrixUnits: parsed["matrix-units"] === true,
        tune: readOneOf("tune", text(parsed.tune), tuneModes),
      };
      return (context) => checkCommand(options, context);
    }
    case "generate": {
      const options = readGenerateOptions(parsed);
      return (context) => generateCommand(options, context);
    }
    case "eval": {
      const options = readEvalOptions(parsed);
      return (context) => evalCommand(options, context);
    }
    case "compare": {
      const options = readCompareOptions(parsed);
      return (context) => compareCommand(options, context);
    }
    case "devices":
      return async () => devicesResult(await devices());
  }
}

function devicesResult(rows: DeviceRow[]): CommandResult {
  const told = rows.map(({ binding, adapter, backend, selfTest, reason }) => ({
    binding,
    adapter: adapter ?? "",
    backend: backend ?? "",
    "self-test": selfTest ?? "",
    reason: reason ?? "",
  }));
  return { json: rows, rows: told, lines: [] };
}

/** The first signal asks for an end, the second ends. */
function catchSignals() {
  const controller = new AbortController();
  const codes = { SIGINT: 130, SIGTERM: 143 };
  let exitCode = 1;
  const listeners = Object.entries(codes).map(([name, code]) => {
    const listener = () => {
      if (controller.signal.aborted) {
        abandonAllSync();
        process.exit(code);
      }
      exitCode = code;
      controller.abort();
    };
    process.on(name, listener);
    return () => process.off(name, listener);
  });
  const forget = () => listeners.forEach((off) => off());
  return { signal: controller.signal, exitCode: () => exitCode, forget };
}

/** Prints what a command came to; gives the exit code. */
async function show(result: CommandResult, parsed: Args): Promise<number> {
  if (parsed.json) { for (const piece of jsonPieces(result.json)) await print(piece); }
  else if (!parsed.quiet) await print(await toldResult(result));
  if (result.failure === undefined) return 0;
  say(oneLine(result.failure));
  return 1;
}

/** A document on one line, in pieces: a long list in it is not made into one string. */
function* jsonPieces(document: unknown): Generator<string> {
  const entries = Array.isArray(document) ? [] : Object.entries(document as object);
  const list = entries.findIndex(([, value]) => Array.isArray(value));
  if (list < 0) return yield `${JSON.stringify(document)}\n`;
  const json = (part: [string, unknown][]) => JSON.stringify(Object.fromEntries(part)).slice(1, -1);
  const [name, elements] = entries[list] as [string, unknown[]];
  yield `{${list > 0 ? `${json(entries.slice(0, list))},` : ""}${JSON.stringify(name)}:[`;
  for (let i = 0; i < elements.length; i += 4096) {
    yield (i > 0 ? "," : "") + JSON.stringify(elements.slice(i, i + 4096)).slice(1, -1);
  }
  const rest = json(entries.slice(list + 1));
  yield `]${rest && `,${rest}`}}\n`;
}

/** Table and lines; a table engine that cannot be fetched costs the table, not the result. */
async function toldResult({ rows, lines }: CommandResult): Promise<string> {
  const table = await renderTable(rows.map(printableRow)).catch((error) => {
    say(`No table: ${oneLine(error)}`);
    return "";
  });
  const told = lines.map((line) => `${printable(line)}\n`).join("");
  return [table, told].filter(Boolean).join("\n");
}

function printableRow(row: CommandResult["rows"][number]): CommandResult["rows"][number] {
  const entries = Object.entries(row);
  return Object.fromEntries(entries.map(([title, cell]) => {
    return [title, typeof cell === "string" ? printable(cell) : cell];
  }));
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Prints without waiting; what could not be printed is thrown at the next piece or at the end. */
function createTeller() {
  let written: Promise<unknown> = Promise.resolve();
  let lost: unknown;
  const tell = (piece: string) => {
    if (lost !== undefined) throw lost;
    written = print(piece).catch((error) => lost ??= error);
  };
  const end = async () => {
    await written;
    if (lost !== undefined) throw lost;
  };
  return { tell, end };
}

/**
 * Writes to stdout and waits until it is taken; a reader that has gone away is no error. Bun gives
 * errors to the callback, Deno may throw them at once.
 */
async function print(output: string): Promise<0> {
  if (process.stdout.listenerCount("error") === 0) process.stdout.on("error", () => {});
  const error = await new Promise<Error | null | undefined>((done) => {
    process.stdout.write(output, done);
  }).catch((error) => error);
  if (!error || error.code === "EPIPE") return 0;
  throw new Error(`Cannot print as stdout must take all: got ${error.code ?? oneLine(error)}`, {
    cause: error,
  });
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
