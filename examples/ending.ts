/**
 * How an example ends: what goes wrong is told in one line, and its temporary folders are gone, also
 * after Ctrl-C.
 *
 * @module
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

process.on("uncaughtException", ({ message }) => {
  console.error(message);
  process.exit(1);
});

/** A folder that is gone when the process ends: Ctrl-C is awaited before there is one. */
export function temporaryFolder(): string {
  process.once("SIGINT", () => process.exit(130));
  const folder = mkdtempSync(join(tmpdir(), "afpq-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
