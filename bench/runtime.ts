/**
 * What runs a bench, for its first line.
 *
 * @module
 */
import process from "node:process";

/** Name and version: `Deno 2.9.5`. */
export const runtime = "Bun" in globalThis
  ? `Bun ${process.versions.bun}`
  : `Deno ${process.versions.deno}`;

/** The day, as in `2026-11-26`. */
export function today(): string {
  return new Date().toISOString().slice(0, 10);
}
