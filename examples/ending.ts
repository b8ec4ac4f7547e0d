/**
 * How an example ends: what goes wrong is told in one line, and its temporary folders are gone, also
 * after Ctrl-C.
 *
 * @module
 */
import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

process.on("uncaughtException", ({ message }) => {
  console.error(message);
  process.exit(1);
});

/** A folder that is gone when the process ends. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "afpq-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  process.once("SIGINT", () => process.exit(130));
  return folder;
}
