/**
 * What tuning found out, kept from run to run in `tuning.json` of the cache folder:
 *
 *   { "ADAPTER, BACKEND, VARIANT, kernels HASH": { "CLASS OF SHAPE": "TILING" } }
 *
 * The adapter's name holds its driver, where the runtime tells that (Deno's own WebGPU does not); the hash
 * is of all kernels' text, so that a new driver or kernel is measured anew. The file is a hint: one that is missing, unreadable or odd means no choices, and a
 * tiling that is no candidate any more is passed over by tiling.ts.
 *
 * @module
 */

import { randomBytes } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { cacheFolder } from "./cache_folder.ts";
import { sha256 } from "./hashed_file.ts";
import { kernelText } from "./kernels.ts";
import { permitted } from "./permission.ts";

/** Chosen tilings by class of shape. */
export type Choices = Record<string, string>;

const MOST_BYTES = 1 << 20;

/** The name that a device has in the file. */
export function tuningKey(
  { adapter, backend, fast }: { adapter: string; backend: string; fast: boolean },
  features: ReadonlySet<string>,
): string {
  const variant = [
    fast ? "fast" : "plain",
    features.has("subgroups") ? "subgroups" : "no subgroups",
  ];
  const kernels = sha256(kernelText()).slice(0, 12);
  return [adapter, backend, ...variant, `kernels ${kernels}`].join(", ");
}

/** What was chosen for a device; nothing where nothing is known or may be read. */
export async function readChoices(key: string): Promise<Choices> {
  return (await readAll())[key] ?? {};
}

/**
 * Adds choices for a device to the file.
 *
 * @throws {Error} where the folder cannot be written
 */
export async function writeChoices(key: string, choices: Choices): Promise<void> {
  const path = tuningPath();
  const all = await readAll();
  all[key] = { ...all[key], ...choices };
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(temporary, JSON.stringify(all, null, 1) + "\n");
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {});
    throw new Error(`Cannot keep what tuning chose: ${(cause as Error).message}`, { cause });
  }
}

function tuningPath(): string {
  return join(cacheFolder(), "tuning.json");
}

async function readAll(): Promise<Record<string, Choices>> {
  if (!permitted({ name: "read" })) return {};
  try {
    const bytes = await readFile(tuningPath());
    if (bytes.length > MOST_BYTES) return {};
    const all: unknown = JSON.parse(bytes.toString());
    return isObject(all) ? Object.fromEntries(Object.entries(all).filter(hasChoices)) : {};
  } catch {
    return {};
  }
}

function hasChoices(entry: [string, unknown]): entry is [string, Choices] {
  return isObject(entry[1]) && Object.values(entry[1]).every((label) => typeof label === "string");
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
