/**
 * Environment variables, changed for the time of a call.
 *
 * @module
 */

import process from "node:process";
import { inFolder } from "./made_checkpoints.ts";

/** Sets variables, undefined ones away, calls, and sets them back. */
export function withVariables<T>(
  variables: Record<string, string | undefined>,
  act: () => T,
): T {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  setAll(Object.entries(variables));
  const back = () => setAll(before);
  try {
    const result = act();
    if (!(result instanceof Promise)) back();
    else return result.finally(back) as T;
    return result;
  } catch (error) {
    back();
    throw error;
  }
}

/** Tells a story with a cache of its own, whose folder is not there yet. */
export function inCacheFolder(story: (folder: string) => Promise<void>): Promise<void> {
  return inFolder((at, folder) => {
    return withVariables({ XDG_CACHE_HOME: folder }, () => story(at("afpq")));
  });
}

function setAll(variables: readonly (readonly [string, string | undefined])[]): void {
  for (const [name, value] of variables) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
}
