/**
 * A bench while somebody may be looking: progress and notes on stderr, what goes wrong in one line. Ctrl-C
 * lets it tell what it has; a second one ends it.
 *
 * @module
 */
import process from "node:process";
import { type Device, type DeviceOptions, openDevice } from "../lib/device.ts";
import type { Gpu } from "../lib/gpu.ts";
import { readEnvironment } from "../lib/permission.ts";
import { createProgress } from "../lib/progress.ts";
import { oneLine, UsageError } from "../lib/read_options.ts";

/** What a bench tells, and what stops it. */
export interface BenchContext {
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, total: number, what: string, unit: string) => void;
  readonly log: (line: string) => void;
}

/** The exit code of a command: its own or, where it throws, 2 for wrong usage and 1 for all else. */
export async function exitCodeOf(command: () => Promise<number>): Promise<number> {
  try {
    return await command();
  } catch (error) {
    return toldCode(error);
  }
}

/** Tells an error in one line; gives its exit code. */
function toldCode(error: unknown): number {
  process.stderr.write(`${oneLine(error)}\n`);
  return error instanceof UsageError ? 2 : 1;
}

/** What a step of a script gives; where it throws, that is told in one line and ends the script. */
export async function orEnd<T>(step: () => T | Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    process.exit(toldCode(error));
  }
}

/** A device with a GPU. */
export async function openGpu(options: DeviceOptions): Promise<Device & { gpu: Gpu }> {
  const device = await openDevice(options);
  const { gpu } = device;
  if (!gpu) throw new Error("Cannot bench as there must be a GPU: got TypeScript alone");
  return { ...device, gpu };
}

/** Runs it; `stopped` after Ctrl-C. */
export async function attended<T>(
  run: (context: BenchContext) => Promise<T>,
): Promise<{ result: T; stopped: boolean }> {
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
    const result = await run({
      signal: stop.signal,
      onProgress: progress.update,
      log(line) {
        progress.finish();
        process.stderr.write(`${line}\n`);
      },
    });
    return { result, stopped: stop.signal.aborted };
  } finally {
    progress.finish();
    process.off("SIGINT", onSignal);
  }
}
