/**
 * Files read and written in pieces and hashed on the way: what `afpq.json` keeps and `verify` looks
 * for. SHA-256, in hex.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { quote } from "./strict_json.ts";

/** What went into a file: its bytes, and their SHA-256 as 64 hex digits. */
export interface Hashed {
  readonly bytes: number;
  readonly sha256: string;
}

/** SHA-256 of bytes or of UTF-8 text. */
export function sha256(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Hashes pieces one after the other. */
export async function hashChunks(chunks: AsyncIterable<Uint8Array>): Promise<Hashed> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of chunks) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { bytes, sha256: hash.digest("hex") };
}

const CHUNK_BYTES = 4 << 20;

/** A file's bytes in pieces of at most 4 MiB; each piece is overwritten by the next. */
export async function* fileChunks(path: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const file = await open(path, "r");
  try {
    const buffer = new Uint8Array(CHUNK_BYTES);
    for (let position = 0;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
      if (bytesRead === 0) return;
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/**
 * Writes a new file from pieces. A full disk gives short counts and no error, so each piece is
 * written until all of it is there.
 *
 * @throws {Error} if the file exists already, or the disk does not take all bytes
 */
export async function writeHashed(
  path: string,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<Hashed> {
  const hash = createHash("sha256");
  let bytes = 0;
  const file = await open(path, "wx");
  try {
    for await (const chunk of chunks) {
      hash.update(chunk);
      for (let done = 0; done < chunk.length;) {
        const rest = chunk.length - done;
        const { bytesWritten } = await file.write(chunk, done, rest, bytes + done)
          .catch((cause) => fail(path, rest, cause.code ?? cause.message, cause));
        if (bytesWritten === 0) fail(path, rest, "a full disk");
        done += bytesWritten;
      }
      bytes += chunk.length;
    }
  } finally {
    await file.close();
  }
  return { bytes, sha256: hash.digest("hex") };
}

function fail(path: string, bytes: number, got: string, cause?: unknown): never {
  throw new Error(
    `Cannot write ${quote(path)} as the disk must take ${bytes} bytes more: got ${got}`,
    { cause },
  );
}
