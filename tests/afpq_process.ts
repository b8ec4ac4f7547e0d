/**
 * Runs the command line, or another file, in a process of its own, in the runtime of the test.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

const CLI = fileURLToPath(new URL("../lib/cli.ts", import.meta.url));
const LOCK = fileURLToPath(new URL("../bench/deno.lock", import.meta.url));

/** How the command line ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Where and under what the command line runs. */
export interface ProcessOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string | undefined>;
  /** Runtime and its flags in place of those of the test. */
  readonly runtime?: readonly string[];
  /** Called with the process as soon as it runs. */
  readonly onStart?: (child: ChildProcess) => void;
}

/**
 * Runtime of the test, with what it wants before a file's name. Deno writes what a file imports into the
 * lock: that of benches, which has it, as in `deno task test`, for the library's has no peers.
 */
export const thisRuntime: readonly string[] = "Deno" in globalThis
  ? [process.execPath, "run", "--quiet", "-A", `--lock=${LOCK}`]
  : [process.execPath];

/** Runs `afpq ARGS` to its end. */
export function afpq(args: readonly string[], options: ProcessOptions = {}): Promise<Ended> {
  return runFile(CLI, args, options);
}

/** Runs a file to its end. */
export function runFile(
  path: string,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<Ended> {
  const [command, ...flags] = options.runtime ?? thisRuntime;
  const { promise, resolve, reject } = Promise.withResolvers<Ended>();
  const child = spawn(command, [...flags, path, ...args], {
    cwd: options.cwd,
    env: { ...process.env, INIT_CWD: undefined, NO_COLOR: "1", ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const pieces = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  child.stdout!.on("data", (bytes) => pieces.stdout.push(bytes));
  child.stderr!.on("data", (bytes) => pieces.stderr.push(bytes));
  child.on("error", reject);
  child.on("close", (code, signal) => {
    const [stdout, stderr] = [pieces.stdout, pieces.stderr].map((all) =>
      new TextDecoder().decode(Buffer.concat(all))
    );
    resolve({ code, signal, stdout, stderr });
  });
  options.onStart?.(child);
  return promise;
}
