/** Claims about lib/verify_checkpoint.ts: a changed bit anywhere is found, and named. */
import assert from "node:assert/strict";
import { cp, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { manifestText, readManifest } from "../lib/manifest.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { openSafetensors } from "../lib/safetensors.ts";
import { faultsLine, verifyCheckpoint } from "../lib/verify_checkpoint.ts";
import { type At, inFolder, makeModel, makeShardedModel, refusal } from "./made_checkpoints.ts";

/** Tells a story about a quantised checkpoint at `q`. */
function withQuantized(story: (at: At) => Promise<void>): Promise<void> {
  return inFolder(async (at) => {
    await makeModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"));
    await story(at);
  });
}

/** A seeded stream of integers below `most`. */
function integers(seed: number): (most: number) => number {
  let state = BigInt(seed);
  return (most) => {
    state = (state * 6364136223846793005n + 1442695040888963407n) % 2n ** 64n;
    return Number((state >> 33n) % BigInt(most));
  };
}

test("an untouched checkpoint is whole, in one file and in shards", () =>
  withQuantized(async (at) => {
    assert.deepEqual(await verifyCheckpoint(at("q")), {
      ok: true,
      files: 4,
      tensors: 13,
      faults: [],
    });
    await makeShardedModel(at("s"));
    await quantizeCheckpoint(at("s"), at("sq"));
    assert.deepEqual(await verifyCheckpoint(at("sq")), {
      ok: true,
      files: 5,
      tensors: 13,
      faults: [],
    });
  }));

test(
  "of 1,000 random bits flipped anywhere in the folder, 1,000 are found",
  { timeout: 120_000 },
  () =>
    withQuantized(async (at) => {
      const names = (await readdir(at("q"))).sort();
      const files = await Promise.all(names.map((name) => readFile(at("q", name))));
      const total = files.reduce((sum, { length }) => sum + length, 0);
      const below = integers(1);
      for (let i = 0; i < 1000; i++) {
        let byte = below(total);
        const f = files.findIndex(({ length }) => (byte -= length) < 0);
        byte += files[f].length;
        files[f][byte] ^= 1 << (i & 7);
        await writeFile(at("q", names[f]), files[f]);
        const report = await verifyCheckpoint(at("q"));
        assert.equal(report.ok, false, `${names[f]} byte ${byte} bit ${i & 7}`);
        assert.equal(report.faults[0].file, names[f]);
        files[f][byte] ^= 1 << (i & 7);
        await writeFile(at("q", names[f]), files[f]);
      }
      assert.equal((await verifyCheckpoint(at("q"))).ok, true);
    }),
);

test("a changed tensor is named with its file", () =>
  withQuantized(async (at) => {
    const path = at("q", "model.safetensors");
    const { tensors, dataOffset } = await openSafetensors(path);
    const bytes = await readFile(path);
    for (const { name, begin, end } of tensors) {
      const place = dataOffset + Math.floor((begin + end) / 2);
      bytes[place] ^= 16;
      await writeFile(path, bytes);
      assert.deepEqual((await verifyCheckpoint(at("q"))).faults, [
        { file: "model.safetensors", tensor: name, reason: "changed" },
      ]);
      bytes[place] ^= 16;
    }
  }));

/** Each: what is done to the folder, and the faults that come of it. */
const changes: Record<string, {
  change: (at: At) => Promise<unknown>;
  faults: { file: string; reason: RegExp }[];
}> = {
  "a missing file": {
    change: (at) => rm(at("q", "tokenizer.json")),
    faults: [{ file: "tokenizer.json", reason: /^is missing$/ }],
  },
  "missing tensors": {
    change: (at) => rm(at("q", "model.safetensors")),
    faults: [{ file: "model.safetensors", reason: /^is missing: Cannot read|^is missing$/ }],
  },
  "an extra file": {
    change: (at) => writeFile(at("q", "notes.txt"), ""),
    faults: [{ file: "notes.txt", reason: /^is not in afpq.json$/ }],
  },
  "a hidden file": {
    change: (at) => writeFile(at("q", ".hidden"), ""),
    faults: [{ file: ".hidden", reason: /^is not in afpq.json$/ }],
  },
  "an extra folder": {
    change: (at) => mkdir(at("q", "folder")),
    faults: [{ file: "folder", reason: /^is not in afpq.json$/ }],
  },
  "a link in place of a file": {
    async change(at) {
      await rename(at("q", "config.json"), at("config.json"));
      await symlink(at("config.json"), at("q", "config.json"));
    },
    faults: [{ file: "config.json", reason: /^is no regular file$/ }],
  },
  "a folder in place of a file": {
    async change(at) {
      await rm(at("q", "config.json"));
      await mkdir(at("q", "config.json"));
    },
    faults: [{ file: "config.json", reason: /^is no regular file$/ }],
  },
  "a renamed file": {
    change: (at) => rename(at("q", "config.json"), at("q", "Config.json")),
    faults: [
      { file: "Config.json", reason: /^is not in afpq.json$/ },
      { file: "config.json", reason: /^is missing$/ },
    ],
  },
  "a file cut short": {
    change: async (at) =>
      await writeFile(
        at("q", "model.safetensors"),
        (await readFile(at("q", "model.safetensors"))).subarray(0, -1),
      ),
    faults: [{ file: "model.safetensors", reason: /^must have \d+ bytes: got \d+$/ }],
  },
  "another document": {
    change: (at) => writeFile(at("q", "afpq.json"), "{}"),
    faults: [{ file: "afpq.json", reason: /must be as afpq wrote it/ }],
  },
  "a white space more in the document": {
    change: async (at) =>
      await writeFile(
        at("q", "afpq.json"),
        (await readFile(at("q", "afpq.json"), "utf8")).replace(": ", ":  "),
      ),
    faults: [{ file: "afpq.json", reason: /must be as afpq wrote it/ }],
  },
};

for (const [what, { change, faults }] of Object.entries(changes)) {
  test(`${what} is found and named`, () =>
    withQuantized(async (at) => {
      await change(at);
      const report = await verifyCheckpoint(at("q"));
      assert.equal(report.ok, false);
      const found = [...report.faults].sort((a, b) => a.file < b.file ? -1 : 1);
      assert.deepEqual(found.map(({ file }) => file), faults.map(({ file }) => file));
      faults.forEach(({ reason }, i) => assert.match(found[i].reason, reason));
    }));
}

test("a document made anew around a missing tensor is found out by the tensors", () =>
  withQuantized(async (at) => {
    const path = at("q", "afpq.json");
    const manifest = readManifest(await readFile(path), path);
    const [[name], ...rest] = Object.entries(manifest.tensors);
    await writeFile(path, manifestText({ ...manifest, tensors: Object.fromEntries(rest) }));
    assert.deepEqual((await verifyCheckpoint(at("q"))).faults, [
      { file: "model.safetensors", tensor: name, reason: "is not in afpq.json" },
    ]);
  }));

test("names in the document lead to no file outside the folder", () =>
  withQuantized(async (at) => {
    const path = at("q", "afpq.json");
    const manifest = readManifest(await readFile(path), path);
    await writeFile(at("outside"), "");
    const files = { ...manifest.files, "../outside": { bytes: 0, sha256: "" } };
    await writeFile(path, manifestText({ ...manifest, files }));
    assert.deepEqual((await verifyCheckpoint(at("q"))).faults, [
      { file: "../outside", reason: "is missing" },
    ]);
  }));

test("the checkpoint is found by a link to it, and moves with its folder", () =>
  withQuantized(async (at) => {
    await symlink(at("q"), at("link"));
    assert.equal((await verifyCheckpoint(at("link"))).ok, true);
    await cp(at("q"), at("copy"), { recursive: true });
    assert.equal((await verifyCheckpoint(at("copy"))).ok, true);
  }));

test("what is no quantised checkpoint is refused", () =>
  withQuantized(async (at) => {
    assert.match(
      await refusal(verifyCheckpoint(at("none"))),
      /must be a folder: got no folder there$/,
    );
    assert.match(await refusal(verifyCheckpoint(join(at("q"), "afpq.json"))), /must be a folder/);
    assert.match(await refusal(verifyCheckpoint(at("m"))), /must hold afpq.json/);
  }));

test("faultsLine() names three faults and counts the rest", () => {
  const faults = ["a", "b", "c", "d", "e"].map((file) => ({
    file,
    tensor: "t\n",
    reason: "changed",
  }));
  assert.equal(
    faultsLine({ ok: false, files: 5, tensors: 0, faults }),
    ["a", "b", "c"].map((file) => `"${file}" tensor "t\\u{a}" changed`).join("; ") + "; and 2 more",
  );
});
