/** Claims about lib/hash.ts. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileChunks, sha256, sha256Chunks } from "../lib/hash.ts";

test("sha256() gives the digest everyone knows", () => {
  assert.equal(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  assert.equal(sha256("abc"), sha256(Uint8Array.of(97, 98, 99)));
});

test("a file of more than one piece hashes as its bytes in one", async () => {
  const folder = await mkdtemp(join(tmpdir(), "afpq-hash-"));
  try {
    const bytes = Uint8Array.from({ length: (4 << 20) + 5 }, (_, i) => i * 7 + (i >> 8));
    for (const part of [bytes, bytes.subarray(0, 3), bytes.subarray(0, 0)]) {
      await writeFile(join(folder, "f"), part);
      const hashed = await sha256Chunks(fileChunks(join(folder, "f")));
      assert.deepEqual(hashed, { bytes: part.length, sha256: sha256(part) });
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
