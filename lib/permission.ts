/**
 * Asks Deno what is allowed before doing it, so that no prompt appears and nothing throws; in Bun
 * everything is.
 *
 * @module
 */

import process from "node:process";

/** Whether Deno grants the permission here and now; always true in Bun. */
export function permitted(permission: Deno.PermissionDescriptor): boolean {
  return !("Deno" in globalThis) || Deno.permissions.querySync(permission).state === "granted";
}

/** An environment variable, undefined where it is not set or may not be read. */
export function readEnvironment(variable: string): string | undefined {
  return permitted({ name: "env", variable }) ? process.env[variable] : undefined;
}
