/** Claims about lib/manifest.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Manifest, manifestText, readManifest } from "../lib/manifest.ts";

const manifest: Manifest = {
  version: 1,
  files: Object.fromEntries([
    ["model.safetensors", { bytes: 1234, sha256: "ab".repeat(32) }],
    ["__proto__", { bytes: 0, sha256: "cd".repeat(32) }],
    ["7", { bytes: 2 ** 53 - 1, sha256: "" }],
  ]),
  tensors: { 'odd "name"\n\u2028é.codes': { file: "model.safetensors", bytes: 16, sha256: "00" } },
  quantized: {
    'odd "name"\n\u2028é': {
      format: "nf4-asym",
      group: "row",
      rows: 2,
      cols: 3,
      bitsPerWeight: 4.25,
      nmse: 1.25e-7,
      largestError: 5e-324,
      underflows: 0,
    },
  },
};
const bytes = new TextEncoder().encode(manifestText(manifest));

test("a document reads back as it was written, whatever its names", () => {
  const { version, files, tensors, quantized } = readManifest(bytes, "afpq.json");
  assert.deepEqual(
    JSON.stringify({ version, files, tensors, quantized }),
    JSON.stringify(manifest),
  );
  assert.ok(Object.hasOwn(files, "__proto__"));
});

test("every single flipped bit of the document is found", () => {
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const flipped = bytes.slice();
    flipped[bit >> 3] ^= 1 << (bit & 7);
    assert.throws(() => readManifest(flipped, "afpq.json"), SyntaxError, `bit ${bit}`);
  }
});

test("bytes cut off, put on or put in front are found", () => {
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => readManifest(bytes.slice(0, length), "afpq.json"), SyntaxError);
  }
  for (const extra of [[0x20], [0x0a], [0]]) {
    assert.throws(() => readManifest(Uint8Array.of(...bytes, ...extra), "afpq.json"), SyntaxError);
    assert.throws(() => readManifest(Uint8Array.of(...extra, ...bytes), "afpq.json"), SyntaxError);
  }
  assert.throws(() => readManifest(Uint8Array.of(0xef, 0xbb, 0xbf, ...bytes), "x"), SyntaxError);
});

test("a document of another version is refused by that version", () => {
  const later = new TextEncoder().encode(manifestText({ ...manifest, version: 2 }));
  assert.throws(() => readManifest(later, "out/afpq.json"), {
    name: "RangeError",
    message: 'Cannot read "out/afpq.json" as its version must be 1: got 2',
  });
});

test("JSON that is no document of ours is refused", () => {
  for (const text of ["", "null", "[]", "{}", '{"version":1}', '{"version":1,"files":[]}']) {
    assert.throws(() => readManifest(new TextEncoder().encode(text), "afpq.json"), SyntaxError);
  }
});
