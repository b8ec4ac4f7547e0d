/**
 * Where this toolkit keeps what is expensive to make again: `$XDG_CACHE_HOME/afpq`, else `~/.cache/afpq`.
 *
 * @module
 */

import { join } from "node:path";
import { readEnvironment } from "./permission.ts";

/** The folder, which need not exist yet; throws where the environment names none. */
export function cacheFolder(): string {
  const cache = readEnvironment("XDG_CACHE_HOME");
  if (cache?.startsWith("/")) return join(cache, "afpq");
  const home = readEnvironment("HOME");
  if (!home) throw new Error("Cannot find a cache folder: neither XDG_CACHE_HOME nor HOME is set");
  return join(home, ".cache", "afpq");
}
