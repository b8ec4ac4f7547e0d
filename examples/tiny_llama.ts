/**
 * The shipped model, for the demo: its decoder linears, and its folder. From a checkout they are read
 * out of `tiny-llama/`, as any checkpoint is. From a URL the model comes as an import, the one way that
 * needs no permission: text (base64 of brotli) that Deno fetches once into its cache, checked by hash
 * here; a folder is then made of it, which takes permission to write.
 *
 * `deno run -A examples/tiny_llama.ts` writes that text anew.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, brotliDecompressSync } from "node:zlib";
import { type FloatDtype, headerLength, parseHeader, readSafetensors, widen } from "../mod.ts";
import { temporaryFolder } from "./ending.ts";

/** One matrix W [rows, cols]. */
export interface Linear {
  name: string;
  rows: number;
  cols: number;
  w: Float32Array;
}

const MODEL = new URL("tiny-llama/model.safetensors", import.meta.url);
const SHA256 = "af3849c8a3e93751dd99311cc38607cc573592e62697f724987c002be4a8a5b0";

/** q, k, v, o, gate, up and down of every layer. */
export async function tinyLlama(): Promise<Linear[]> {
  const linears: Linear[] = [];
  for await (const tensor of tensors()) {
    if (!/\.layers\.\d+\..*_proj\.weight$/.test(tensor.name)) continue;
    const [rows, cols] = tensor.shape.map(Number);
    const w = widen(await tensor.bytes(), tensor.dtype as FloatDtype);
    linears.push({ name: tensor.name, rows, cols, w });
  }
  return linears;
}

/** The model's folder; from a URL one that is gone when the process ends. */
export async function tinyLlamaFolder(): Promise<string> {
  if (MODEL.protocol === "file:") return fileURLToPath(new URL(".", MODEL));
  const folder = temporaryFolder();
  await writeFile(join(folder, "model.safetensors"), await importedModel());
  for (const [name, { default: text }] of Object.entries(await importedTexts())) {
    await writeFile(join(folder, name), text);
  }
  return folder;
}

/** The folder's small files. */
async function importedTexts(): Promise<Record<string, { default: string }>> {
  return {
    "config.json": await import("./tiny-llama/config.json", { with: { type: "text" } }),
    "tokenizer.json": await import("./tiny-llama/tokenizer.json", { with: { type: "text" } }),
    "tokenizer_config.json": await import("./tiny-llama/tokenizer_config.json", {
      with: { type: "text" },
    }),
    "calibration.txt": await import("./tiny-llama/calibration.txt", { with: { type: "text" } }),
    "heldout.txt": await import("./tiny-llama/heldout.txt", { with: { type: "text" } }),
  };
}

async function* tensors() {
  if (MODEL.protocol === "file:") return yield* readSafetensors(fileURLToPath(MODEL));
  const file = await importedModel();
  const dataOffset = 8 + headerLength(file, file.length);
  const header = parseHeader(file.subarray(8, dataOffset), { dataBytes: file.length - dataOffset });
  for (const tensor of header.tensors) {
    const data = file.subarray(dataOffset + tensor.begin, dataOffset + tensor.end);
    yield { ...tensor, bytes: () => Promise.resolve(data) };
  }
}

/** The bytes of model.safetensors, out of the text. */
export async function importedModel(): Promise<Uint8Array> {
  const { default: text } = await import("./tiny_llama.txt", { with: { type: "text" } });
  const file = brotliDecompressSync(Uint8Array.fromBase64(text));
  const hash = createHash("sha256").update(file).digest("hex");
  if (hash === SHA256) return file;
  throw new Error(`Cannot use the imported model as its SHA-256 must be ${SHA256}: got ${hash}`);
}

if (import.meta.main) {
  const text = brotliCompressSync(await readFile(MODEL)).toString("base64");
  await writeFile(
    new URL("tiny_llama.txt", import.meta.url),
    text.replace(/.{100}/g, "$&\n") + "\n",
  );
}
