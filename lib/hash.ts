/**
 * SHA-256 of bytes and of files, in hex: what `afpq.json` keeps and `verify` looks for.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";

/** SHA-256 of bytes or of UTF-8 text, 64 hex digits. */
export function sha256(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** SHA-256 of the pieces one after the other, and their bytes. */
export async function sha256Chunks(
  chunks: AsyncIterable<Uint8Array>,
): Promise<{ bytes: number; sha256: string }> {
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
    let position = 0;
    while (true) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
      if (bytesRead === 0) return;
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
