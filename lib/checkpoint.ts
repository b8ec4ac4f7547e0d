/**
 * A checkpoint: the tensors of a model, wherever its files put them.
 *
 * A path may be a folder, an index (`*.safetensors.index.json`) or one safetensors file. In a folder
 * `model.safetensors` wins over `model.safetensors.index.json`, as in transformers, which looks for
 * the single file first; a folder with neither may hold exactly one other `.safetensors` file.
 *
 * An index maps tensor names to files, `{"weight_map": {"NAME": "FILE"}}`. It is input from
 * strangers: a file name must be a plain relative path by the rules of POSIX and Windows at once,
 * end in `.safetensors`, and resolve inside the folder. The one exception is the Hugging Face
 * cache, whose `snapshots/REVISION/FILE` link to `../../blobs/HASH`: a link that ends in `blobs` of
 * the same cache entry is followed. Index and shards must agree on every tensor, both ways.
 *
 * `config.json` is optional, read by the strict parser, and must be an object.
 *
 * Leaves out: what a config means, and hashes (`manifest.ts`).
 *
 * @module
 */

import { readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { openSafetensors, readSmall, type SafetensorsFile, type Tensor } from "./safetensors.ts";
import { type Json, parseStrictJson, quote } from "./strict_json.ts";

/** An opened checkpoint: the headers are read, the data is not. */
export interface Checkpoint {
  readonly path: string;
  /** Folder that holds it, also when `path` is a file. */
  readonly folder: string;
  readonly files: SafetensorsFile[];
  /** By name, in the order of files and of their data. */
  readonly tensors: Map<string, Tensor>;
  /** config.json; null when there is none, or the path is one file. */
  readonly config: Record<string, Json> | null;
  /** Names of the folder's other regular files (tokenizer and the like), sorted. */
  readonly others: string[];
}

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";
const CONFIG = "config.json";
const MAX_INDEX_BYTES = 2 ** 28;
const MAX_CONFIG_BYTES = 2 ** 24;

/**
 * Opens a folder, an index or one file, and checks that its parts agree.
 *
 * @throws {Error} when a file is missing, lies outside the folder or contradicts the index
 * @throws {SyntaxError} when an index, a config or a header is malformed
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const found = await stat(path).catch((cause) => {
    const got = cause.code === "ENOENT" ? "nothing there" : String(cause.code ?? cause);
    throw new Error(`Cannot open ${quote(path)} as it must be a folder or a file: got ${got}`, {
      cause,
    });
  });
  if (found.isDirectory()) return await openFolder(path);
  if (path.endsWith(".json")) return await openIndexed(path, dirname(path), basename(path));
  const files = [await openSafetensors(path)];
  return { path, folder: dirname(path), files, tensors: collect(files), config: null, others: [] };
}

/**
 * Yields each tensor of a file, an index or a folder; its data is read when asked for.
 *
 * @throws as {@linkcode openCheckpoint}
 */
export async function* readSafetensors(path: string): AsyncIterable<Tensor> {
  yield* (await openCheckpoint(path)).tensors.values();
}

async function openFolder(folder: string): Promise<Checkpoint> {
  const names = await readdir(folder);
  if (!names.includes(SINGLE) && names.includes(INDEX)) {
    return await openIndexed(folder, folder, INDEX);
  }
  const name = names.includes(SINGLE) ? SINGLE : onlySafetensors(folder, names);
  const files = [await openSafetensors(await contained(folder, name))];
  return await complete(folder, folder, files);
}

function onlySafetensors(folder: string, names: string[]): string {
  const found = names.filter((name) => name.endsWith(".safetensors"));
  if (found.length === 1) return found[0];
  throw new Error(
    `Cannot open ${
      quote(folder)
    } as it must hold ${SINGLE} or ${INDEX}: got ${found.length} other safetensors files`,
  );
}

async function openIndexed(path: string, folder: string, index: string): Promise<Checkpoint> {
  const weightMap = await readIndex(await contained(folder, index));
  const names = [...new Set(weightMap.values())].sort();
  const files: SafetensorsFile[] = [];
  for (const name of names) files.push(await openSafetensors(await contained(folder, name)));
  names.forEach((name, i) => checkShard(join(folder, index), weightMap, name, files[i]));
  const tensors = collect(files);
  for (const [tensor, name] of weightMap) {
    if (tensors.has(tensor)) continue;
    throw new Error(
      `Cannot open ${quote(join(folder, index))} as tensor ${quote(tensor)} must be in ${
        quote(name)
      }: got no such tensor there`,
    );
  }
  return await complete(path, folder, files, tensors);
}

/** Tensor name to file name, each a plain name. */
async function readIndex(path: string): Promise<Map<string, string>> {
  const index = parseStrictJson(await readSmall(path, MAX_INDEX_BYTES), quote(path));
  const map = isObject(index) ? index.weight_map : undefined;
  if (!isObject(map)) {
    throw new SyntaxError(
      `Cannot read ${quote(path)} as it must have an object "weight_map": got none`,
    );
  }
  const weightMap = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== "string" || !isPlainShardName(file)) {
      const got = typeof file === "string" ? quote(file) : typeof file;
      throw new SyntaxError(
        `Cannot read ${quote(path)} as the file of tensor ${
          quote(tensor)
        } must be a plain .safetensors name inside the folder: got ${got}`,
      );
    }
    weightMap.set(tensor, file);
  }
  return weightMap;
}

/** Whether a name from an index stays in the folder by the rules of POSIX, Windows and URLs. */
export function isPlainShardName(name: string): boolean {
  const parts = name.split("/");
  return name.length <= 1024 && name.endsWith(".safetensors") &&
    !/[\p{C}\\:%*?"<>|]/u.test(name) &&
    parts.every((part) => part !== "" && part !== "." && part !== ".." && !/[. ]$/.test(part));
}

/** The path of a folder's file, refused when a link leads it out of the folder or its cache. */
async function contained(folder: string, name: string): Promise<string> {
  const path = join(folder, name);
  const root = await realpath(folder);
  const target = await realpath(path).catch((cause) => {
    const got = cause.code === "ENOENT" ? "nothing there" : String(cause.code ?? cause);
    throw new Error(`Cannot read ${quote(path)} as it must be a file: got ${got}`, { cause });
  });
  if (target.startsWith(root + sep) || target.startsWith(cacheBlobs(root))) return path;
  throw new Error(
    `Cannot read ${quote(path)} as it must lie inside its folder: got a link to ${quote(target)}`,
  );
}

/** Where a Hugging Face cache keeps its files: `ENTRY/blobs/` for `ENTRY/snapshots/REVISION/..`. */
function cacheBlobs(root: string): string {
  const at = root.lastIndexOf(`${sep}snapshots${sep}`);
  return at < 0 ? root + sep : join(root.slice(0, at), "blobs") + sep;
}

function checkShard(
  index: string,
  weightMap: Map<string, string>,
  name: string,
  { tensors }: SafetensorsFile,
): void {
  for (const tensor of tensors) {
    const said = weightMap.get(tensor.name);
    if (said === name) continue;
    throw new Error(
      `Cannot open ${quote(index)} as tensor ${quote(tensor.name)} of ${
        quote(name)
      } must be listed there: got ${said === undefined ? "no entry" : quote(said)}`,
    );
  }
}

function collect(files: SafetensorsFile[]): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  for (const file of files) {
    for (const tensor of file.tensors) tensors.set(tensor.name, tensor);
  }
  return tensors;
}

async function complete(
  path: string,
  folder: string,
  files: SafetensorsFile[],
  tensors = collect(files),
): Promise<Checkpoint> {
  return {
    path,
    folder,
    files,
    tensors,
    config: await readConfig(folder),
    others: await others(folder),
  };
}

/** Regular files of a folder that are neither tensors nor the config; hidden ones stay behind. */
async function others(folder: string): Promise<string[]> {
  const names: string[] = [];
  for (const name of (await readdir(folder)).sort()) {
    const isOurs = name === CONFIG || /\.safetensors(\.index\.json)?$/.test(name);
    if (isOurs || name.startsWith(".") || !await isRegular(join(folder, name))) continue;
    await contained(folder, name);
    names.push(name);
  }
  return names;
}

async function isRegular(path: string): Promise<boolean> {
  return await stat(path).then((found) => found.isFile(), () => false);
}

async function readConfig(folder: string): Promise<Record<string, Json> | null> {
  const path = join(folder, CONFIG);
  const exists = await stat(path).then(() => true, () => false);
  if (!exists) return null;
  const bytes = await readSmall(await contained(folder, CONFIG), MAX_CONFIG_BYTES);
  const config = parseStrictJson(bytes, quote(path));
  if (isObject(config)) return config;
  throw new SyntaxError(`Cannot read ${quote(path)} as it must be an object: got another value`);
}

function isObject(value: Json | undefined): value is { [name: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
