/**
 * Blocks that are quantised already, kept beside OUT until all of them are: so that a run that is
 * stopped goes on where it was, and so that no more than one block is ever in memory.
 *
 *   PARENT/.NAME.blocks-KEY/      KEY: 16 hex digits of what the blocks depend on, hashed
 *     block-0.safetensors         packed matrices, changed vectors, and a report in the metadata
 *     blocks.json                 bytes and SHA-256 of each block's file, in order
 *     running-HOST-PID            while a process is at work on it
 *
 * A block counts once blocks.json says so, and only if its file is still what was written. Stores of
 * the same NAME with another KEY are removed, unless a process is at work on them: they belong to
 * other options, or another model.
 *
 * @module
 */

import { mkdir, readdir, readFile, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { widen } from "./float16.ts";
import { fileChunks, hashChunks, type Hashed, sha256 } from "./hashed_file.ts";
import { processTag, siblingPrefix, stateOf } from "./output_folder.ts";
import { metadataRoom, type PackedFacts, packedMetadata, packedSources } from "./packed_tensors.ts";
import { packedTensors, readPacked } from "./packed_tensors.ts";
import type { QuantizedMatrix } from "./pack.ts";
import { openSafetensors, type SafetensorsFile } from "./safetensors.ts";
import { writeSafetensors } from "./safetensors_writer.ts";
import { quote } from "./strict_json.ts";

/** What is kept of a block. */
export interface StoredBlock<Report> {
  readonly matrices: ReadonlyMap<string, QuantizedMatrix>;
  /** Numbers that are no matrix and were changed, by tensor name. */
  readonly vectors: ReadonlyMap<string, Float32Array>;
  readonly report: Report;
}

/** A store of blocks in order. */
export interface BlockStore<Report> {
  readonly path: string;
  /** Blocks that are there. */
  count(): number;
  read(index: number): Promise<StoredBlock<Report>>;
  /** Adds the next block. */
  add(block: StoredBlock<Report>): Promise<void>;
  /** Leaves it to be gone on with. */
  release(): Promise<void>;
  /** Removes all of it. */
  remove(): Promise<void>;
}

const LIST = "blocks.json";
const RUNNING = "running-";
const REPORT = "report";
/** Most bytes that a report takes, as JSON within JSON. */
const REPORT_BYTES = 1 << 16;

/** Opens the store of OUT for what depends on `key`, with the blocks that a stopped run left. */
export async function openBlockStore<Report>(
  out: string,
  key: string,
  log: (line: string) => void = () => {},
): Promise<BlockStore<Report>> {
  const parent = dirname(resolve(out)), prefix = siblingPrefix(out, "blocks");
  const path = join(parent, prefix + sha256(key).slice(0, 16));
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix) || join(parent, name) === path) continue;
    await removeOther(join(parent, name), log);
  }
  await begin(path, out);
  const running = join(path, RUNNING + processTag());
  await writeFile(running, "");
  const blocks = await soundBlocks(path);
  if (blocks.length > 0) log(`${blocks.length} blocks are quantised already, in ${quote(path)}`);
  return {
    path,
    count: () => blocks.length,
    read: (index) => readBlock(join(path, fileName(index))),
    async add(block) {
      blocks.push(await writeBlock(join(path, fileName(blocks.length)), block));
      const list = join(path, LIST);
      await writeFile(`${list}.new`, JSON.stringify(blocks));
      await rename(`${list}.new`, list);
    },
    release: () => rm(running, { force: true }),
    async remove() {
      for (const name of await readdir(path)) await rm(join(path, name));
      await rmdir(path);
    },
  };
}

/** Removes a store of other options that nobody is at work on. */
async function removeOther(path: string, log: (line: string) => void): Promise<void> {
  if ((await runners(path)).some((state) => state !== "dead")) {
    return log(`left ${quote(path)} alone: another run with other options is at work on it`);
  }
  await rm(path, { recursive: true });
  log(`removed ${quote(path)}, blocks quantised with other options`);
}

/** Makes the folder of a store, or takes over that of a run that ended. */
async function begin(path: string, out: string): Promise<void> {
  await mkdir(path, { recursive: true }).catch((cause) => {
    throw new Error(
      `Cannot write ${quote(out)} as its parent must be writable: got ${cause.code}`,
      { cause },
    );
  });
  if ((await runners(path)).includes("alive")) {
    throw new Error(
      `Cannot write ${quote(out)} as one run at a time may be at work on it: got another, in ${
        quote(path)
      }`,
    );
  }
  for (const name of await readdir(path)) {
    if (name.startsWith(RUNNING)) await rm(join(path, name), { force: true });
  }
}

/** Of each process but this one that says it is at work on a store, what is known of it. */
async function runners(path: string) {
  const names = await readdir(path).catch(() => [] as string[]);
  return names.filter((name) => name.startsWith(RUNNING) && name !== RUNNING + processTag())
    .map((name) => stateOf(name.slice(RUNNING.length)));
}

function fileName(index: number): string {
  return `block-${index}.safetensors`;
}

/** The blocks of a list whose files are what was written, up to the first that is not. */
async function soundBlocks(path: string): Promise<Hashed[]> {
  const text = await readFile(join(path, LIST), "utf8").catch(() => "[]");
  const sound: Hashed[] = [];
  for (const { sha256, bytes } of parseList(text)) {
    const found = await hashChunks(fileChunks(join(path, fileName(sound.length)))).catch(() =>
      null
    );
    if (found?.sha256 !== sha256) break;
    sound.push({ sha256, bytes });
  }
  return sound;
}

function parseList(text: string): Hashed[] {
  try {
    const list = JSON.parse(text);
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}

async function writeBlock<Report>(
  path: string,
  { matrices, vectors, report }: StoredBlock<Report>,
): Promise<Hashed> {
  await rm(path, { force: true });
  const facts = [...matrices].map(([name, q]): PackedFacts => ({ ...q, name, dtype: "F32" }));
  const sources = [...matrices].flatMap(([name, q]) =>
    packedSources(name, q, () => Promise.resolve(q))
  );
  const { bytes, sha256 } = await writeSafetensors(path, [
    ...sources,
    ...[...vectors].map(([name, values]) => ({
      name,
      dtype: "F32" as const,
      shape: [values.length],
      bytes: () => new Uint8Array(values.slice().buffer),
    })),
  ], {
    metadata: () => ({ ...packedMetadata(null, facts), [REPORT]: JSON.stringify(report) }),
    reserve: metadataRoom(null, facts) + REPORT_BYTES,
  });
  return { bytes, sha256 };
}

async function readBlock<Report>(path: string): Promise<StoredBlock<Report>> {
  const file: SafetensorsFile = await openSafetensors(path);
  const matrices = new Map<string, QuantizedMatrix>();
  for (const packed of packedTensors(file)) matrices.set(packed.name, await readPacked(packed));
  const vectors = new Map<string, Float32Array>();
  for (const tensor of file.tensors) {
    if (tensor.dtype === "F32") vectors.set(tensor.name, widen(await tensor.bytes(), "F32"));
  }
  return { matrices, vectors, report: JSON.parse(file.metadata![REPORT]) as Report };
}
