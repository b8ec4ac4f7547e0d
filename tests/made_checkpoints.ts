/**
 * Small checkpoints for tests, made in folders of their own that are gone afterwards.
 *
 * @module
 */

import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CommandContext } from "../lib/command.ts";
import { sha256 } from "../lib/hashed_file.ts";
import { type FloatDtype, narrow } from "../lib/float16.ts";
import { type TensorSource, writeSafetensors } from "../lib/safetensors_writer.ts";

/** Joins names to a test's own folder. */
export type At = (...names: string[]) => string;

/** Tells a story in an empty folder that is gone afterwards. */
export async function inFolder<T>(
  story: (at: At, folder: string) => Promise<T>,
): Promise<T> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), "afpq-made-")));
  try {
    return await story((...names) => join(folder, ...names), folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A float tensor of seeded weights, about N(0, 0.05). */
export function weights(name: string, shape: number[], dtype: FloatDtype = "BF16"): TensorSource {
  return { name, dtype, shape, bytes: () => narrow(values(name, shape), dtype) };
}

/** The weights before they are narrowed. */
export function values(name: string, shape: number[]): Float32Array {
  let state = [...name].reduce((hash, letter) => Math.imul(hash, 31) + letter.charCodeAt(0), 7);
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  const count = shape.reduce((a, b) => a * b, 1);
  return Float32Array.from({ length: count }, () => (random() + random() + random()) / 10);
}

/** A tensor of other bytes. */
export function raw(name: string, dtype: TensorSource["dtype"], shape: number[], bytes: number) {
  return { name, dtype, shape, bytes: () => new Uint8Array(bytes).fill(7) } satisfies TensorSource;
}

/** The tensors of one layer of a small LLaMA. */
export function layer(i: number): TensorSource[] {
  const block = `model.layers.${i}`;
  return [
    weights(`${block}.self_attn.q_proj.weight`, [48, 40]),
    weights(`${block}.mlp.down_proj.weight`, [40, 93], "F16"),
    weights(`${block}.input_layernorm.weight`, [40], "F32"),
  ];
}

/** What surrounds the layers, which no default quantises. */
export const outer: TensorSource[] = [
  weights("model.embed_tokens.weight", [64, 40]),
  weights("lm_head.weight", [64, 40]),
  weights("model.norm.weight", [40]),
];

/** Text of a config that a parser would write differently. */
export const CONFIG =
  '{\n  "model_type": "llama",\n  "rms_norm_eps": 1e-05,\n  "theta": 10000.0\n}\n';

/** Writes a Hugging Face folder with one weight file. */
export async function makeModel(folder: string): Promise<void> {
  await mkdir(folder);
  const tensors = [...outer, ...layer(0), ...layer(1)];
  await writeSafetensors(join(folder, "model.safetensors"), tensors, {
    metadata: { format: "pt" },
  });
  await writeFile(join(folder, "config.json"), CONFIG);
  await writeFile(join(folder, "tokenizer.json"), '{"version": "1.0"}');
}

/** Writes a Hugging Face folder with two weight files and an index. */
export async function makeShardedModel(folder: string): Promise<void> {
  await mkdir(folder);
  const shards = [[...layer(0), outer[0]], [...layer(1), outer[1], outer[2]]];
  const map: Record<string, string> = {};
  for (const [i, tensors] of shards.entries()) {
    const name = `model-0000${i + 1}-of-00002.safetensors`;
    await writeSafetensors(join(folder, name), tensors);
    for (const tensor of tensors) map[tensor.name] = name;
  }
  const index = { metadata: { total_size: 1 }, weight_map: map };
  await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify(index));
  await writeFile(join(folder, "config.json"), CONFIG);
}

/** SHA-256 of each file below a folder, by name. */
export async function folderHashes(folder: string): Promise<Record<string, string>> {
  const names = (await readdir(folder)).sort();
  const hash = async (name: string) => [name, sha256(await readFile(join(folder, name)))] as const;
  return Object.fromEntries(await Promise.all(names.map(hash)));
}

/** The message of what a promise is rejected with. */
export async function refusal(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as Error).message;
  }
  return "not refused";
}

/** A context of a command that nobody listens to. */
export const context: CommandContext = {
  signal: new AbortController().signal,
  onProgress: () => {},
  log: () => {},
  onText: () => {},
};
