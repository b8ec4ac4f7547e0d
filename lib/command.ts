/**
 * What a command is to the command line: options and a context in; a document, rows and lines out. Commands print nothing.
 *
 * @module
 */
import type { Row } from "./report.ts";

/** What every command is given beside its options. */
export interface CommandContext {
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  readonly onProgress: (doneBytes: number, totalBytes: number, what: string) => void;
  /** Told, a line at a time, what is fetched, removed or odd. */
  readonly log: (line: string) => void;
}

/** What a command comes to. */
export interface CommandResult {
  /** The document of `--json`. */
  readonly json: unknown;
  /** The table for people. */
  readonly rows: readonly Row[];
  /** What stands below the table. */
  readonly lines: readonly string[];
  /** Why the exit code is 1, in one line, although there is something to show. */
  readonly failure?: string;
}
