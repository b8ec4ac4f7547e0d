/**
 * How fast products run on this machine's GPU, and beside what: see `help` in options.ts.
 *
 *   deno task bench [FLAGS]             bun bench/main.ts [FLAGS]
 *   deno task bench report A.json ...   bun bench/main.ts report A.json ...
 *
 * Exit codes: 0 done, 1 no GPU or a kernel that is wrong, 2 wrong usage, 130 Ctrl-C with what was
 * measured until then.
 *
 * @module
 */
import process from "node:process";
import { oneLine, UsageError } from "../lib/read_options.ts";
import { attended } from "./attended.ts";
import { help, readBenchOptions, readReportOptions } from "./options.ts";
import { makeReport } from "./report.ts";
import { runBench } from "./run.ts";

/** Runs the bench's command line; gives the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    return args[0] === "report" ? await report(args.slice(1)) : await bench(args);
  } catch (error) {
    say(oneLine(error));
    return error instanceof UsageError ? 2 : 1;
  }
}

async function report(args: readonly string[]): Promise<number> {
  const options = readReportOptions(args);
  process.stdout.write(options ? await makeReport(options) : `${help}\n`);
  return 0;
}

async function bench(args: readonly string[]): Promise<number> {
  const options = readBenchOptions(args);
  if (!options) {
    process.stdout.write(`${help}\n`);
    return 0;
  }
  const { result: { text, failure }, stopped } = await attended((context) =>
    runBench(options, context)
  );
  process.stdout.write(text);
  if (failure) say(failure);
  return stopped ? 130 : failure ? 1 : 0;
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
