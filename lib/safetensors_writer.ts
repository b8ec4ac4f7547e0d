/**
 * Writes a safetensors file so that its name never stands on anything but the whole file.
 *
 * Order of events: a temp file `.NAME.partial-PID-RANDOM` in the same folder, opened to fail if it
 * exists; each tensor at its place; the header; last the 8-byte length, which is zero until then
 * (no reader opens a header of zero bytes); the size checked; fsync; a second pass for the SHA-256;
 * rename; fsync of the folder. On any failure, or when `signal` aborts, the temp file is removed.
 *
 * A full disk gives a short count and no error, so each write is repeated until its bytes are down,
 * and a write that makes no headway is refused with the bytes that were wanted. What each source
 * gives is counted against its dtype x shape.
 *
 * Sources are asked in the order given, one at a time, while their places in the file follow the
 * format's order (the widest dtype first): all places are known before the first byte, so a caller
 * may give codes and scales of one matrix in turn and hold nothing else. Metadata may be a function,
 * called when all data is down; `reserve` bytes of the header are kept for its JSON.
 *
 * @module
 */

import { createHash, type Hash, randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import type { Dtype, Shape } from "./dtype.ts";
import { CHUNK_BYTES } from "./safetensors.ts";
import {
  formatHeader,
  LENGTH_BYTES,
  MAX_HEADER_BYTES,
  placeTensors,
  show,
  type TensorEntry,
} from "./safetensors_header.ts";
import { quote } from "./strict_json.ts";

/** A tensor to write: its data whole, or in pieces (asked for first, where both are there). */
export interface TensorSource {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: Shape;
  bytes?(): Promise<Uint8Array> | Uint8Array;
  chunks?(): AsyncIterable<Uint8Array>;
}

/** Options of {@linkcode writeSafetensors}. */
export interface WriteOptions {
  /** `__metadata__`, or a function that gives it once all data is written. */
  readonly metadata?: Readonly<Record<string, string>> | (() => Readonly<Record<string, string>>);
  /** Header bytes to keep for metadata from a function: UTF-8 bytes of the longest JSON it gives. */
  readonly reserve?: number;
  /** Abandons the writing and removes the temp file. */
  readonly signal?: AbortSignal;
  /** Called when a tensor is down. */
  readonly onTensor?: (written: { name: string; bytes: number; sha256: string }) => void;
  /** How the temp file is opened: a seam for tests of full disks. */
  readonly open?: (path: string, flags: "wx+") => Promise<FileHandle>;
}

/** What was written: bytes of the file, and SHA-256 in hex of it and of each tensor's data. */
export interface WrittenFile {
  readonly bytes: number;
  readonly sha256: string;
  /** In the order given. */
  readonly tensors: { name: string; sha256: string }[];
}

/**
 * Writes tensors to a file, replacing what was there only when all of it is on the disk.
 *
 * @throws {TypeError} when names or metadata cannot stand in a header
 * @throws {RangeError} when a source gives another count of bytes than its dtype and shape
 * @throws {Error} when the disk takes fewer bytes than given
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorSource[],
  options: WriteOptions = {},
): Promise<WrittenFile> {
  const unique = `${process.pid}-${randomBytes(6).toString("hex")}`;
  const partial = join(dirname(path), `.${basename(path)}.partial-${unique}`);
  const places = placeTensors(tensors);
  try {
    const handle = await (options.open ?? open)(partial, "wx+");
    const target: Target = { path, handle, signal: options.signal };
    const written = await writeAll(target, tensors, places, options).finally(() => handle.close());
    options.signal?.throwIfAborted();
    await rename(partial, path);
    await syncFolder(dirname(path));
    return written;
  } catch (error) {
    await rm(partial, { force: true });
    throw inOurWords(path, error);
  }
}

/** An error of the system names a call and a temp file; ours names the file that was wanted. */
function inOurWords(path: string, cause: unknown): unknown {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  if (!/^E[A-Z0-9]+$/.test(code)) return cause; // Deno's errors of fsync have a code, no syscall
  return new Error(`Cannot write ${quote(path)} as the system must let it: got ${code}`, { cause });
}

/** The temp file, and the name that errors call it by. */
interface Target {
  readonly path: string;
  readonly handle: FileHandle;
  readonly signal?: AbortSignal;
}

async function writeAll(
  target: Target,
  sources: readonly TensorSource[],
  places: TensorEntry[],
  { metadata = {}, reserve = 0, onTensor }: WriteOptions,
): Promise<WrittenFile> {
  const fixed = typeof metadata === "function" ? null : emptyToNull(metadata);
  const room = formatHeader(places, fixed, fixed ? 0 : reserve).length;
  checkRoom(target.path, room, MAX_HEADER_BYTES);
  const placeOf = new Map(places.map((place) => [place.name, place]));
  const tensors = [];
  for (const source of sources) {
    const place = placeOf.get(source.name)!;
    const sha256 = await writeTensor(target, source, place, LENGTH_BYTES + room + place.begin);
    tensors.push({ name: source.name, sha256 });
    onTensor?.({ name: source.name, bytes: place.end - place.begin, sha256 });
  }
  const late = typeof metadata === "function" ? emptyToNull(metadata()) : fixed;
  await writeHead(target, formatHeader(places, late), room);
  const bytes = LENGTH_BYTES + room + (places.at(-1)?.end ?? 0);
  await checkSize(target, bytes);
  await target.handle.sync();
  return { bytes, sha256: await hashFile(target, bytes), tensors };
}

function emptyToNull(metadata: Readonly<Record<string, string>>) {
  return Object.keys(metadata).length === 0 ? null : metadata;
}

function checkRoom(path: string, wanted: number, room: number): void {
  if (wanted <= room) return;
  throw new RangeError(
    `Cannot write ${quote(path)} as its header must fit in ${room} bytes: got ${wanted}`,
  );
}

/** Writes the header in its room, padded with spaces, and after it the length that makes it valid. */
async function writeHead(target: Target, header: Uint8Array, room: number): Promise<void> {
  checkRoom(target.path, header.length, room);
  const padded = new Uint8Array(room).fill(0x20);
  padded.set(header);
  await writeAt(target, padded, LENGTH_BYTES);
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setBigUint64(0, BigInt(room), true);
  await writeAt(target, length, 0);
}

/** Writes one tensor's data at `position`; gives its SHA-256. */
async function writeTensor(
  target: Target,
  source: TensorSource,
  { name, dtype, shape, begin, end }: TensorEntry,
  position: number,
): Promise<string> {
  const wanted = end - begin;
  const hash = createHash("sha256");
  let given = 0;
  for await (const piece of pieces(source)) {
    if (given + piece.length <= wanted) await writeAt(target, piece, position + given, hash);
    given += piece.length;
  }
  if (given !== wanted) {
    throw new RangeError(
      `Cannot write tensor ${quote(name)} ${
        show(shape)
      } of ${dtype} as its data must be ${wanted} bytes: got ${given}`,
    );
  }
  return hash.digest("hex");
}

async function* pieces(source: TensorSource): AsyncIterable<Uint8Array> {
  if (source.chunks) {
    yield* source.chunks();
  } else if (source.bytes) {
    const bytes = await source.bytes();
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      yield bytes.subarray(at, at + CHUNK_BYTES);
    }
  }
}

/** Writes all of `bytes` at `position`, however short the single writes come back. */
async function writeAt(
  { path, handle, signal }: Target,
  bytes: Uint8Array,
  position: number,
  hash?: Hash,
): Promise<void> {
  signal?.throwIfAborted();
  hash?.update(bytes);
  for (let done = 0; done < bytes.length;) {
    const wanted = bytes.length - done;
    const step = Math.min(wanted, CHUNK_BYTES);
    const { bytesWritten } = await handle.write(bytes, done, step, position + done)
      .catch((cause) => {
        throw fullDisk(path, wanted, position + done, String(cause.code ?? cause.message), cause);
      });
    if (bytesWritten === 0) throw fullDisk(path, wanted, position + done, "none written");
    done += bytesWritten;
  }
}

function fullDisk(path: string, wanted: number, at: number, got: string, cause?: unknown): Error {
  return new Error(
    `Cannot write ${
      quote(path)
    } as the disk must take ${wanted} bytes more at byte ${at}: got ${got}`,
    { cause },
  );
}

async function checkSize({ path, handle }: Target, bytes: number): Promise<void> {
  const { size } = await handle.stat();
  if (size === bytes) return;
  throw new Error(
    `Cannot write ${quote(path)} as the file must have ${bytes} bytes at the end: got ${size}`,
  );
}

/** SHA-256 of the file as it lies there, since its head is written after its data. */
async function hashFile({ path, handle, signal }: Target, bytes: number): Promise<string> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(Math.min(CHUNK_BYTES, bytes));
  for (let at = 0; at < bytes;) {
    signal?.throwIfAborted();
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, bytes - at), at);
    if (bytesRead === 0) {
      throw new Error(
        `Cannot write ${
          quote(path)
        } as its ${bytes} bytes must read back: got its end at byte ${at}`,
      );
    }
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest("hex");
}

/** Makes a rename last through a power loss, where the system lets a folder be opened. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => null);
  await handle?.sync().catch(() => {});
  await handle?.close();
}
