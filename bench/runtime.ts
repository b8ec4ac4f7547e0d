/**
 * What runs a bench, for its first line and its document.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** Name and version: `Deno 2.9.5`. */
export const runtime = "Bun" in globalThis
  ? `Bun ${process.versions.bun}`
  : `Deno ${process.versions.deno}`;

/** The day, as in `2026-11-26`. */
export function today(): string {
  return new Date().toISOString().slice(0, 10);
}

/** The commit that runs, `+` where something is changed; "" outside a checkout. */
export function commit(): string {
  const cwd = fileURLToPath(new URL(".", import.meta.url));
  const git = (...args: string[]) =>
    execFileSync("git", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
      .trim();
  try {
    return git("rev-parse", "HEAD") + (git("status", "--porcelain") ? "+" : "");
  } catch {
    return "";
  }
}
