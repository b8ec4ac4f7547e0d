/**
 * Holds a quantised checkpoint against its `afpq.json`: first that document itself, then the
 * folder's files (none missing, none more, bytes and SHA-256 of each), then the tensors in them
 * (names, SHA-256, packed metadata, scales that can be). A changed file is taken apart to name the
 * tensor that changed. Finds any changed bit; does not tell who changed it, there is no key.
 *
 * @module
 */
import { lstat, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileChunks, hashChunks } from "./hashed_file.ts";
import { type Manifest, MANIFEST_NAME, readManifest } from "./manifest.ts";
import { packedTensors, readScales } from "./packed_tensors.ts";
import { openSafetensors, readSmall, type SafetensorsFile } from "./safetensors.ts";
import { quote } from "./strict_json.ts";

/** One thing that is not as it was written. */
export interface Fault {
  /** Name in the folder. */
  readonly file: string;
  readonly tensor?: string;
  readonly reason: string;
}

/** What was found; `files` and `tensors` were looked at. */
export interface VerifyReport {
  readonly ok: boolean;
  readonly files: number;
  readonly tensors: number;
  readonly faults: readonly Fault[];
}

/** How to verify. */
export interface VerifyOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (doneBytes: number, totalBytes: number, what: string) => void;
}

const MAX_MANIFEST_BYTES = 2 ** 29;

/**
 * Checks a folder that `quantizeCheckpoint` wrote.
 *
 * @throws {Error} if there is no such folder, or no afpq.json in it
 */
export async function verifyCheckpoint(
  path: string,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const found = await stat(path).catch(() => null);
  if (!found?.isDirectory()) {
    throw new Error(`Cannot verify ${quote(path)} as it must be a folder: got no folder there`);
  }
  const entries = new Set((await readdir(path)).sort());
  if (!entries.has(MANIFEST_NAME)) {
    throw new Error(
      `Cannot verify ${quote(path)} as it must hold ${MANIFEST_NAME}: got a folder without it`,
    );
  }
  const job: Job = { path, options, faults: [], files: 0, tensors: 0, doneBytes: 0, totalBytes: 0 };
  const manifest = await readOwnManifest(job);
  if (manifest) await verifyAll(job, manifest, entries);
  return {
    ok: job.faults.length === 0,
    files: job.files,
    tensors: job.tensors,
    faults: job.faults,
  };
}

interface Job {
  readonly path: string;
  readonly options: VerifyOptions;
  readonly faults: Fault[];
  files: number;
  tensors: number;
  doneBytes: number;
  totalBytes: number;
}

async function readOwnManifest(job: Job): Promise<Manifest | null> {
  const path = join(job.path, MANIFEST_NAME);
  job.files++;
  try {
    if (!(await lstat(path)).isFile()) throw new Error("it must be a file: got something else");
    return readManifest(await readSmall(path, MAX_MANIFEST_BYTES), path);
  } catch (error) {
    job.faults.push({ file: MANIFEST_NAME, reason: (error as Error).message });
    return null;
  }
}

async function verifyAll(job: Job, manifest: Manifest, entries: Set<string>): Promise<void> {
  const { faults } = job;
  job.totalBytes = Object.values(manifest.files).reduce((sum, { bytes }) => sum + 2 * bytes, 0);
  for (const name of entries) {
    if (name === MANIFEST_NAME || Object.hasOwn(manifest.files, name)) continue;
    faults.push({ file: name, reason: "is not in afpq.json" });
  }
  const intact: string[] = [];
  for (const [name, record] of Object.entries(manifest.files)) {
    const reason = entries.has(name) ? await verifyFile(job, name, record) : "is missing";
    if (reason === null) intact.push(name);
    else if (name.endsWith(".safetensors")) await nameChangedTensors(job, manifest, name, reason);
    else faults.push({ file: name, reason });
  }
  for (const name of intact) {
    if (name.endsWith(".safetensors")) await verifyTensors(job, manifest, name);
  }
}

/** What is wrong with a file, null where nothing is. */
async function verifyFile(
  job: Job,
  name: string,
  { bytes, sha256 }: { bytes: number; sha256: string },
): Promise<string | null> {
  const path = join(job.path, name);
  const found = await lstat(path);
  if (!found.isFile()) return "is no regular file";
  job.files++;
  if (found.size !== bytes) return `must have ${bytes} bytes: got ${found.size}`;
  const hashed = await hashChunks(counted(job, fileChunks(path), name));
  return hashed.sha256 === sha256 ? null : "changed";
}

/** Pieces, counted for progress and stopped when asked. */
async function* counted(
  job: Job,
  chunks: AsyncIterable<Uint8Array>,
  what: string,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    job.options.signal?.throwIfAborted();
    yield chunk;
    job.doneBytes += chunk.length;
    job.options.onProgress?.(job.doneBytes, job.totalBytes, what);
  }
}

/** Faults of a changed file: its tensors that changed, or what is left of its header. */
async function nameChangedTensors(
  job: Job,
  manifest: Manifest,
  file: string,
  reason: string,
): Promise<void> {
  const before = job.faults.length;
  try {
    const opened = await openSafetensors(join(job.path, file));
    await compareTensors(job, manifest, file, opened);
    if (job.faults.length === before) {
      job.faults.push({ file, reason: reason === "changed" ? "changed in its header" : reason });
    }
  } catch (error) {
    job.options.signal?.throwIfAborted();
    const detail = reason === "changed" ? `: ${(error as Error).message}` : "";
    job.faults.push({ file, reason: reason + detail });
  }
}

/** Holds every tensor of an opened file against the manifest, both ways. */
async function compareTensors(
  job: Job,
  { tensors }: Manifest,
  file: string,
  opened: SafetensorsFile,
): Promise<void> {
  const there = new Map(opened.tensors.map((tensor) => [tensor.name, tensor]));
  for (const name of there.keys()) {
    if (Object.hasOwn(tensors, name) && tensors[name].file === file) continue;
    job.faults.push({ file, tensor: name, reason: "is not in afpq.json" });
  }
  for (const [name, record] of Object.entries(tensors)) {
    if (record.file !== file) continue;
    const tensor = there.get(name);
    if (!tensor) {
      job.faults.push({ file, tensor: name, reason: "is missing" });
      continue;
    }
    job.tensors++;
    const { sha256 } = await hashChunks(counted(job, tensor.chunks(), name));
    if (sha256 !== record.sha256) job.faults.push({ file, tensor: name, reason: "changed" });
  }
}

/** Tensors of a file that is as it was written: hashes, then what the packed ones claim. */
async function verifyTensors(job: Job, manifest: Manifest, file: string): Promise<void> {
  try {
    const opened = await openSafetensors(join(job.path, file));
    await compareTensors(job, manifest, file, opened);
    for (const packed of packedTensors(opened)) {
      await readScales(packed);
      if (Object.hasOwn(manifest.quantized, packed.name)) continue;
      job.faults.push({ file, tensor: packed.name, reason: "has no error report in afpq.json" });
    }
  } catch (error) {
    job.options.signal?.throwIfAborted();
    job.faults.push({ file, reason: (error as Error).message });
  }
}

/** The faults in one line, the first three by name. */
export function faultsLine({ faults }: VerifyReport): string {
  const told = faults.slice(0, 3).map(({ file, tensor, reason }) =>
    `${quote(file)}${tensor === undefined ? "" : ` tensor ${quote(tensor)}`} ${reason}`
  );
  const more = faults.length > 3 ? `; and ${faults.length - 3} more` : "";
  return told.join("; ") + more;
}
