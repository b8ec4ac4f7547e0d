/**
 * What goes from one checkpoint folder into another beside the tensors that change: the shards'
 * names, the index, the small files.
 *
 * Carried over: the folder's regular files that are no weights (tokenizer, generation config,
 * README, licence). Left behind: weights in other forms (.bin, .pt, .gguf, other .safetensors, ...)
 * and their indexes, which are the model a second time; hidden files; folders.
 *
 * @module
 */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Checkpoint } from "./checkpoint.ts";
import { isSingleFile } from "./choose_tensors.ts";
import { tensorBytes } from "./dtype.ts";
import { fileChunks, type Hashed, writeHashed } from "./hashed_file.ts";
import { MANIFEST_NAME } from "./manifest.ts";
import { readSmall, type SafetensorsFile } from "./safetensors.ts";
import type { TensorSource } from "./safetensors_writer.ts";
import { quote } from "./strict_json.ts";

/** Name of the index of a sharded checkpoint. */
export const INDEX_NAME = "model.safetensors.index.json";
const MAX_CONFIG_BYTES = 2 ** 24;
const WEIGHTS =
  /\.(safetensors|pt|pth|ckpt|gguf|ggml|h5|msgpack|onnx|onnx_data|ot|npz|tflite|mlmodel|pkl)$/i;
/** `.bin` says little: pytorch_model.bin is a model, tokenizer.bin is not. */
const WEIGHTS_BIN = /(^|[_-])model[^/]*\.bin$|^(ggml|consolidated).*\.bin$/i;
const INDEX = /\.(safetensors|bin|h5)\.index\.json$/;

/** The name of a file of the checkpoint in another folder. */
export function outputName(checkpoint: Checkpoint, file: SafetensorsFile): string {
  if (isSingleFile(checkpoint)) return "model.safetensors";
  const name = basename(file.path);
  if (resolve(dirname(file.path)) === resolve(checkpoint.folder)) return name;
  throw new Error(
    `Cannot take ${quote(checkpoint.path)} as its shards must lie in the folder itself: got ${
      quote(file.path)
    }`,
  );
}

/** Names of the small files that go along, with their bytes. */
export async function carriedFiles(checkpoint: Checkpoint): Promise<Map<string, number>> {
  const carried = new Map<string, number>();
  for (const name of checkpoint.others) {
    const isWeights = [WEIGHTS, WEIGHTS_BIN, INDEX].some((form) => form.test(name));
    if (isWeights || name === MANIFEST_NAME) continue;
    carried.set(name, (await stat(join(checkpoint.folder, name))).size);
  }
  return carried;
}

/** Copies the small files. */
export async function carryFiles(
  checkpoint: Checkpoint,
  folder: string,
): Promise<[name: string, Hashed][]> {
  const copied: [string, Hashed][] = [];
  for (const name of (await carriedFiles(checkpoint)).keys()) {
    const chunks = fileChunks(join(checkpoint.folder, name));
    copied.push([name, await writeHashed(join(folder, name), chunks)]);
  }
  return copied;
}

/** The text of an index for tensors by file name; null where the source had none. */
export async function indexText(
  checkpoint: Checkpoint,
  tensorsByFile: ReadonlyMap<string, readonly TensorSource[]>,
): Promise<string | null> {
  if (isSingleFile(checkpoint)) return null;
  const names = [...tensorsByFile.keys()];
  const indexed = names.length > 1 ||
    (names[0] !== "model.safetensors" && (await readdir(checkpoint.folder)).includes(INDEX_NAME));
  if (!indexed) return null;
  const entries = names.flatMap((file) =>
    tensorsByFile.get(file)!.map(({ name }) => [name, file] as const)
  );
  const bytes = [...tensorsByFile.values()].flat()
    .map(({ dtype, shape }) => tensorBytes(dtype, shape));
  const index = {
    metadata: { total_size: bytes.reduce((a, b) => a + b, 0) },
    weight_map: Object.fromEntries(entries.sort(([a], [b]) => a < b ? -1 : 1)),
  };
  return `${JSON.stringify(index, null, 2)}\n`;
}

/** Writes the index and config.json; gives what was written. */
export async function writeTexts(
  folder: string,
  texts: Readonly<Record<string, string | null>>,
): Promise<[name: string, Hashed][]> {
  const written: [string, Hashed][] = [];
  for (const [name, text] of Object.entries(texts)) {
    if (text === null) continue;
    const bytes = new TextEncoder().encode(text);
    written.push([name, await writeHashed(join(folder, name), [bytes])]);
  }
  return written;
}

/** The text of the folder's config.json, null where there is none or the checkpoint is one file. */
export async function configText(checkpoint: Checkpoint): Promise<string | null> {
  if (checkpoint.config === null) return null;
  const path = join(checkpoint.folder, "config.json");
  return new TextDecoder().decode(await readSmall(path, MAX_CONFIG_BYTES));
}
