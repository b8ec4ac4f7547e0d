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
import { readEnvironment } from "../lib/permission.ts";
import { createProgress } from "../lib/progress.ts";
import { oneLine, UsageError } from "../lib/read_options.ts";
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
  const progress = createProgress({
    write: (text) => void process.stderr.write(text),
    terminal: process.stderr.isTTY === true,
    columns: () => process.stderr.columns,
    color: !readEnvironment("NO_COLOR"),
  });
  const stop = new AbortController();
  const onSignal = () => {
    if (stop.signal.aborted) process.exit(130);
    stop.abort();
  };
  process.on("SIGINT", onSignal);
  try {
    const { text, failure } = await runBench(options, {
      signal: stop.signal,
      onProgress: progress.update,
      log(line) {
        progress.finish();
        say(line);
      },
    });
    progress.finish();
    process.stdout.write(text);
    if (failure) say(failure);
    return stop.signal.aborted ? 130 : failure ? 1 : 0;
  } finally {
    progress.finish();
    process.off("SIGINT", onSignal);
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
