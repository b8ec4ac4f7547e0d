/** Claims about lib/hashed_file.ts. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileChunks, hashChunks, sha256, writeHashed } from "../lib/hashed_file.ts";
import { inFolder } from "./made_checkpoints.ts";

test("sha256() gives the digest everyone knows", () => {
  assert.equal(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  assert.equal(sha256("abc"), sha256(Uint8Array.of(97, 98, 99)));
});

test("a file written and read in pieces keeps its bytes and its hash", () =>
  inFolder(async (at) => {
    const bytes = Uint8Array.from({ length: (4 << 20) + 5 }, (_, i) => i * 7 + (i >> 8));
    for (const [i, length] of [0, 3, bytes.length].entries()) {
      const part = bytes.subarray(0, length);
      const hashed = { bytes: length, sha256: sha256(part) };
      const path = at(`f${i}`);
      const pieces = [part.subarray(0, 1), part.subarray(1, 1), part.subarray(1)];
      assert.deepEqual(await writeHashed(path, pieces), hashed);
      assert.deepEqual(await hashChunks(fileChunks(path)), hashed);
      assert.equal(sha256(await readFile(path)), hashed.sha256);
      await assert.rejects(writeHashed(path, pieces), { code: "EEXIST" });
    }
  }));
