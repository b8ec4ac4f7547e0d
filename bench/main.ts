/**
 * How fast products run on this machine's GPU, and beside what: see `help` in options.ts.
 *
 *   deno task bench [FLAGS]             bun bench/main.ts [FLAGS]
 *   deno task bench report A.json ...   bun bench/main.ts report A.json ...
 *
 * Exit codes: 0 done, 1 no GPU, a kernel that is wrong, a GPU that was lost or a file that could not be
 * written, 2 wrong usage, 130 Ctrl-C; with what was measured until then.
 *
 * @module
 */
import process from "node:process";
import { attended, exitCodeOf } from "./attended.ts";
import { help, readBenchOptions, readReportOptions } from "./options.ts";
import { makeReport } from "./report.ts";
import { runBench } from "./run.ts";

/** Runs the bench's command line; gives the exit code. */
export function main(args: readonly string[]): Promise<number> {
  return exitCodeOf(() => args[0] === "report" ? report(args.slice(1)) : bench(args));
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
  if (failure) process.stderr.write(`${failure}\n`);
  return stopped ? 130 : failure ? 1 : 0;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
