/**
 * Reads a safetensors file: the header at once, each tensor when it is asked for.
 *
 * Nothing is mapped and no file stays open: `bytes()` and `chunks()` open the file, read at a
 * position in steps of at most 16 MiB (one read of 2 GiB fails in Deno and comes back short in Bun)
 * and close it. A read may come back short, so each is repeated until its bytes are there. Memory
 * is the header's and that of the tensors asked for; files beyond 4 GiB are read as any other.
 *
 * A file that changes between `openSafetensors` and a read (its size or its time of change) is
 * refused, so that no half-replaced model is taken for a whole one. What is not a regular file is
 * refused before it is opened, since opening a FIFO would wait for ever.
 *
 * Leaves out: folders and indexes (`checkpoint.ts`), writing (`safetensors_writer.ts`), and what
 * the elements mean (`float16.ts`).
 *
 * @module
 */

import { type FileHandle, open, stat } from "node:fs/promises";
import {
  type Header,
  headerLength,
  LENGTH_BYTES,
  parseHeader,
  type TensorEntry,
} from "./safetensors_header.ts";
import { quote } from "./strict_json.ts";

/** Bytes of one read or write. */
export const CHUNK_BYTES = 2 ** 24;

/** One tensor of a file; its data is read when asked for. */
export interface Tensor extends TensorEntry {
  /** Path of the file that holds it. */
  readonly file: string;
  /** Reads all its data, [end - begin] bytes, into a buffer of its own. */
  bytes(): Promise<Uint8Array<ArrayBuffer>>;
  /** Reads its data piece by piece; a piece is overwritten when the next one is asked for. */
  chunks(bytesPerChunk?: number): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** An opened file: what its header says. */
export interface SafetensorsFile {
  readonly path: string;
  /** Bytes of the whole file. */
  readonly bytes: number;
  /** Where the data begins: 8 + bytes of the header. */
  readonly dataOffset: number;
  readonly metadata: Record<string, string> | null;
  /** In the order of their data. */
  readonly tensors: Tensor[];
}

/**
 * Reads and checks the header of one file.
 *
 * @throws {SyntaxError} when the header is not strict JSON of the right form
 * @throws {RangeError} when a length or an offset is wrong
 * @throws {Error} when the path is no regular file
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  await using file = await openRegular(path);
  const { size: bytes, mtimeMs } = file;
  const head = await readAt(file, 0, Math.min(bytes, 64));
  refusePointer(head, path);
  const headerBytes = headerLength(head, bytes, path);
  const dataOffset = LENGTH_BYTES + headerBytes;
  const text = await readAt(file, LENGTH_BYTES, headerBytes);
  const header = parseHeader(text, { dataBytes: bytes - dataOffset, file: path });
  text.buffer.transfer(0); // frees up to 100 MB now, not at some later collection
  return openedFile({ path, bytes, mtimeMs, dataOffset }, header);
}

/** A regular file that is open for reading, with its size as it was opened. */
export interface RegularFile extends AsyncDisposable {
  readonly path: string;
  readonly handle: FileHandle;
  readonly size: number;
  readonly mtimeMs: number;
}

/**
 * Opens a file for reading, without waiting on what is no file.
 *
 * @throws {Error} when the path is absent, a folder, a FIFO, a socket or a device
 */
export async function openRegular(path: string): Promise<RegularFile> {
  const found = await stat(path).catch((cause) => {
    const got = cause.code === "ENOENT" ? "nothing there" : String(cause.code ?? cause);
    throw new Error(`Cannot read ${quote(path)} as it must be a file: got ${got}`, { cause });
  });
  if (!found.isFile()) {
    const got = found.isDirectory() ? "a folder" : found.isFIFO() ? "a FIFO" : "a device or socket";
    throw new Error(`Cannot read ${quote(path)} as it must be a regular file: got ${got}`);
  }
  const handle = await open(path, "r");
  const { size, mtimeMs } = await handle.stat();
  return { path, handle, size, mtimeMs, [Symbol.asyncDispose]: () => handle.close() };
}

/** Reads a whole small file, refused above `most` bytes. */
export async function readSmall(path: string, most: number): Promise<Uint8Array<ArrayBuffer>> {
  await using file = await openRegular(path);
  if (file.size > most) {
    throw new RangeError(
      `Cannot read ${quote(path)} as it must have at most ${most} bytes: got ${file.size}`,
    );
  }
  return await readAt(file, 0, file.size);
}

/** Reads `bytes` bytes at `position` into a buffer of its own. */
async function readAt(
  file: RegularFile,
  position: number,
  bytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const into = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += CHUNK_BYTES) {
    await fill(file, position + at, into.subarray(at, at + CHUNK_BYTES));
  }
  return into;
}

/** Fills `into` from `position`, again and again while reads come back short. */
async function fill(file: RegularFile, position: number, into: Uint8Array): Promise<void> {
  for (let done = 0; done < into.length;) {
    const { bytesRead } = await file.handle.read(
      into,
      done,
      into.length - done,
      position + done,
    );
    if (bytesRead === 0) {
      throw new Error(
        `Cannot read ${
          quote(file.path)
        } as it must still have ${file.size} bytes: got its end at byte ${position + done}`,
      );
    }
    done += bytesRead;
  }
}

/** What a tensor has to know of its file. */
interface Origin {
  readonly path: string;
  readonly bytes: number;
  readonly mtimeMs: number;
  readonly dataOffset: number;
}

function openedFile(origin: Origin, { metadata, tensors: entries }: Header): SafetensorsFile {
  const { path, bytes, dataOffset } = origin;
  const tensors = entries as unknown as Tensor[]; // in place: there may be a million
  for (let i = 0; i < entries.length; i++) tensors[i] = new FileTensor(origin, entries[i]);
  return { path, bytes, dataOffset, metadata, tensors };
}

/** A class, so that a million tensors share their two methods. */
class FileTensor implements Tensor {
  readonly name;
  readonly dtype;
  readonly shape;
  readonly begin: number;
  readonly end: number;
  #origin: Origin;

  constructor(origin: Origin, { name, dtype, shape, begin, end }: TensorEntry) {
    this.name = name;
    this.dtype = dtype;
    this.shape = shape;
    this.begin = begin;
    this.end = end;
    this.#origin = origin;
  }

  get file(): string {
    return this.#origin.path;
  }

  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    await using file = await reopen(this.#origin);
    return await readAt(file, this.#origin.dataOffset + this.begin, this.end - this.begin);
  }

  async *chunks(bytesPerChunk = CHUNK_BYTES): AsyncIterable<Uint8Array<ArrayBuffer>> {
    if (!(bytesPerChunk >= 1 && Number.isInteger(bytesPerChunk))) {
      throw new RangeError(
        `Cannot read ${quote(this.name)} as bytesPerChunk must be 1 or more: got ${bytesPerChunk}`,
      );
    }
    const buffer = new Uint8Array(Math.min(bytesPerChunk, this.end - this.begin));
    await using file = await reopen(this.#origin);
    for (let at = this.begin; at < this.end; at += bytesPerChunk) {
      const piece = buffer.subarray(0, Math.min(bytesPerChunk, this.end - at));
      await fill(file, this.#origin.dataOffset + at, piece);
      yield piece;
    }
  }
}

async function reopen(origin: Origin): Promise<RegularFile> {
  const file = await openRegular(origin.path);
  if (file.size === origin.bytes && file.mtimeMs === origin.mtimeMs) return file;
  await file.handle.close();
  throw new Error(
    `Cannot read ${quote(origin.path)} as it must stay as it was, ${origin.bytes} bytes: got ${
      file.size === origin.bytes ? "a later change" : `${file.size} bytes`
    }`,
  );
}

function refusePointer(head: Uint8Array, path: string): void {
  if (new TextDecoder().decode(head).startsWith("version https://git-lfs.github.com/")) {
    throw new Error(
      `Cannot read ${
        quote(path)
      } as it must hold tensors: got a Git LFS pointer, fetch the file itself with "git lfs pull"`,
    );
  }
}
