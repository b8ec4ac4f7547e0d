import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { isPlainShardName, openCheckpoint, readSafetensors } from "../lib/checkpoint.ts";
import { writeSafetensors } from "../lib/safetensors_writer.ts";
import { inFolder } from "./made_checkpoints.ts";

const SHARED = join(dirname(fileURLToPath(import.meta.url)), "../../shared");
const noShared = existsSync(SHARED) ? false : "../shared is not there";

/** Writes a file of one-byte tensors with these names. */
async function shard(path: string, ...names: string[]): Promise<void> {
  const bytes = () => Uint8Array.of(7);
  await writeSafetensors(path, names.map((name) => ({ name, dtype: "U8", shape: [], bytes })));
}

async function index(folder: string, weightMap: unknown): Promise<void> {
  const text = JSON.stringify({ metadata: { total_size: 3 }, weight_map: weightMap });
  await writeFile(join(folder, "model.safetensors.index.json"), text);
}

const A = "model-00001-of-00002.safetensors";
const B = "model-00002-of-00002.safetensors";

/** A folder of two shards: a and b in the first, c in the second. */
async function sharded(folder: string): Promise<void> {
  await shard(join(folder, A), "a", "b");
  await shard(join(folder, B), "c");
  await index(folder, { a: A, b: A, c: B });
}

async function names(path: string): Promise<string[]> {
  return [...(await openCheckpoint(path)).tensors.keys()];
}

test("a file, a folder and an index of it open as the same tensors", () =>
  inFolder(async (_, folder) => {
    await sharded(folder);
    assert.deepEqual(await names(folder), ["a", "b", "c"]);
    assert.deepEqual(await names(join(folder, "model.safetensors.index.json")), ["a", "b", "c"]);
    assert.deepEqual(await names(join(folder, B)), ["c"]);
    const { files, config, tensors } = await openCheckpoint(folder);
    assert.deepEqual(files.map(({ path }) => path), [join(folder, A), join(folder, B)]);
    assert.equal(config, null);
    assert.deepEqual(await tensors.get("c")!.bytes(), Uint8Array.of(7));
  }));

test("readSafetensors() yields the tensors of a folder and of a file", () =>
  inFolder(async (_, folder) => {
    await sharded(folder);
    const read = async (path: string) =>
      (await Array.fromAsync(readSafetensors(path))).map((t) => t.name);
    assert.deepEqual(await read(folder), ["a", "b", "c"]);
    assert.deepEqual(await read(join(folder, A)), ["a", "b"]);
  }));

test("a single model.safetensors wins over an index beside it", () =>
  inFolder(async (_, folder) => {
    await sharded(folder);
    await shard(join(folder, "model.safetensors"), "single");
    assert.deepEqual(await names(folder), ["single"]);
  }));

test("a folder with one safetensors file of another name opens, with two it does not", () =>
  inFolder(async (_, folder) => {
    await shard(join(folder, "adapter.safetensors"), "x");
    assert.deepEqual(await names(folder), ["x"]);
    await shard(join(folder, "other.safetensors"), "y");
    await assert.rejects(openCheckpoint(folder), /must hold model.safetensors or .*: got 2 other/);
  }));

test("an empty folder and a missing path are refused", () =>
  inFolder(async (_, folder) => {
    await assert.rejects(openCheckpoint(folder), /must hold model.safetensors or .*: got 0 other/);
    await assert.rejects(
      openCheckpoint(join(folder, "no")),
      /a folder or a file: got nothing there/,
    );
  }));

test("others are the regular files to carry along: no tensors, config, folders, hidden files", () =>
  inFolder(async (_, folder) => {
    await sharded(folder);
    for (const name of ["tokenizer.json", "merges.txt", ".gitattributes", "config.json"]) {
      await writeFile(join(folder, name), "{}");
    }
    await shard(join(folder, "left.safetensors"), "x");
    await mkdir(join(folder, "runs"));
    assert.deepEqual((await openCheckpoint(folder)).others, ["merges.txt", "tokenizer.json"]);
  }));

test("config.json must be a strict object", () =>
  inFolder(async (_, folder) => {
    await shard(join(folder, "model.safetensors"), "x");
    const config = join(folder, "config.json");
    await writeFile(config, '{"hidden_size": 64, "rope": {"theta": 1e4}}');
    const opened = await openCheckpoint(folder);
    assert.deepEqual({ ...opened.config }.hidden_size, 64);
    for (const text of ["", "[]", "null", '{"a": 1, "a": 2}', "{", "\ufeff{}"]) {
      await writeFile(config, text);
      await assert.rejects(openCheckpoint(folder), /^SyntaxError: Cannot read ".*config.json" as /);
    }
    await writeFile(config, `"${" ".repeat(2 ** 24)}"`);
    await assert.rejects(openCheckpoint(folder), /must have at most 16777216 bytes: got 16777218/);
  }));

const CONTRADICTIONS: [string, (folder: string) => Promise<void>, RegExp][] = [
  [
    "a shard that is missing",
    (folder) => rm(join(folder, B)),
    /model-00002-of-00002.safetensors" as it must be a file: got nothing there/,
  ],
  [
    "a shard that is cut short",
    (folder) => writeFile(join(folder, B), ""),
    /must have at least 8 bytes: got 0/,
  ],
  [
    "a tensor that its shard lacks",
    (folder) => index(folder, { a: A, b: A, c: B, d: B }),
    /tensor "d" must be in "model-00002.*": got no such tensor there/,
  ],
  [
    "a tensor that the index lacks",
    (folder) => index(folder, { a: A, c: B }),
    /tensor "b" of "model-00001.*" must be listed there: got no entry/,
  ],
  [
    "a tensor listed in another shard",
    (folder) => index(folder, { a: A, b: B, c: B }),
    /tensor "b" of "model-00001.*" must be listed there: got "model-00002/,
  ],
  [
    "a tensor that is in two shards",
    (folder) => shard(join(folder, B), "a", "c"),
    /tensor "a" of "model-00002.*" must be listed there: got "model-00001/,
  ],
  [
    "an index without weight_map",
    (folder) => index(folder, undefined),
    /must have an object "weight_map"/,
  ],
  [
    "a weight_map that is an array",
    (folder) => index(folder, [A]),
    /must have an object "weight_map"/,
  ],
  [
    "a shard name that is no text",
    (folder) => index(folder, { a: 7 }),
    /plain .* inside the folder: got number/,
  ],
];
for (const [name, damage, message] of CONTRADICTIONS) {
  test(`openCheckpoint() refuses ${name}`, () =>
    inFolder(async (_, folder) => {
      await sharded(folder);
      await damage(folder);
      await assert.rejects(openCheckpoint(folder), (error: Error) =>
        message.test(error.message) && /^Cannot [^\n]*$/.test(error.message) &&
        error.message.length < 500);
    }));
}

test("an index with a key that comes twice is refused", () =>
  inFolder(async (_, folder) => {
    await sharded(folder);
    const text = `{"weight_map": {"a": "${A}", "\\u0061": "${B}"}}`;
    await writeFile(join(folder, "model.safetensors.index.json"), text);
    await assert.rejects(openCheckpoint(folder), /keys of an object must differ: got "a" twice/);
  }));

// deno-fmt-ignore
const HOSTILE = [
  "../x.safetensors", "a/../../x.safetensors", "/etc/x.safetensors", "..", "a//x.safetensors", "./x.safetensors",
  "..\\x.safetensors", "C:\\x.safetensors", "C:x.safetensors", "\\\\host\\x.safetensors", "//host/x.safetensors",
  "http://host/x.safetensors", "file:///x.safetensors", "data:,x.safetensors", "%2e%2e/x.safetensors",
  "x.safetensors\0", "a\0.safetensors", "a\n.safetensors", "x.bin", "x.safetensors.bin", "", ".safetensors/", "safetensors",
  ".. /x.safetensors", ".../x.safetensors", "x.SAFETENSORS", "*.safetensors", `${"x".repeat(2000)}.safetensors`,
];
for (const name of HOSTILE) {
  test(`an index may not name ${JSON.stringify(name.slice(0, 40))}`, () =>
    inFolder(async (_, folder) => {
      assert.ok(!isPlainShardName(name));
      await shard(join(folder, "x.safetensors"), "a");
      await mkdir(join(folder, "model"));
      await index(join(folder, "model"), { a: name });
      const pattern =
        /as the file of tensor "a" must be a plain .safetensors name inside the folder: got "/;
      await assert.rejects(openCheckpoint(join(folder, "model")), pattern);
    }));
}

test("an index may name a file in a folder below", () =>
  inFolder(async (_, folder) => {
    await mkdir(join(folder, "below"));
    await shard(join(folder, "below/x.safetensors"), "a");
    await index(folder, { a: "below/x.safetensors" });
    assert.deepEqual(await names(folder), ["a"]);
  }));

test("a link that leads out of the folder is refused, one that stays is followed", () =>
  inFolder(async (_, folder) => {
    const model = join(folder, "model");
    await mkdir(model);
    await shard(join(folder, "secret.safetensors"), "a");
    await symlink("../secret.safetensors", join(model, "model.safetensors"));
    await assert.rejects(
      openCheckpoint(model),
      /must lie inside its folder: got a link to ".*secret/,
    );
    await rename(join(folder, "secret.safetensors"), join(model, "here.safetensors"));
    await rm(join(model, "model.safetensors"));
    await symlink("here.safetensors", join(model, "model.safetensors"));
    assert.deepEqual(await names(model), ["a"]);
  }));

test("a link into a folder whose name merely begins alike is refused", () =>
  inFolder(async (_, folder) => {
    for (const name of ["model", "model-other"]) await mkdir(join(folder, name));
    await shard(join(folder, "model-other/x.safetensors"), "a");
    await symlink("../model-other/x.safetensors", join(folder, "model/model.safetensors"));
    await assert.rejects(openCheckpoint(join(folder, "model")), /must lie inside its folder/);
  }));

test("a shard, a config or a tokenizer that links out of the folder is refused", () =>
  inFolder(async (_, folder) => {
    const model = join(folder, "model");
    await mkdir(model);
    await shard(join(folder, "secret.safetensors"), "a");
    await writeFile(join(folder, "secret.json"), "{}");
    await symlink("../secret.safetensors", join(model, "x.safetensors"));
    await index(model, { a: "x.safetensors" });
    await assert.rejects(openCheckpoint(model), /must lie inside its folder/);
    await rm(join(model, "x.safetensors"));
    await shard(join(model, "x.safetensors"), "a");
    for (const name of ["config.json", "tokenizer.json", "model.safetensors.index.json"]) {
      await rm(join(model, name), { force: true });
      await symlink("../secret.json", join(model, name));
      await assert.rejects(
        openCheckpoint(model),
        new RegExp(`${name}" as it must lie inside its folder`),
      );
      await rm(join(model, name));
      await index(model, { a: "x.safetensors" });
    }
  }));

test("a folder that is itself a link opens", () =>
  inFolder(async (_, folder) => {
    await mkdir(join(folder, "model"));
    await shard(join(folder, "model/model.safetensors"), "a");
    await symlink("model", join(folder, "link"));
    assert.deepEqual(await names(join(folder, "link")), ["a"]);
  }));

test("the links of a Hugging Face cache lead to its blobs, and to no other entry's", () =>
  inFolder(async (_, folder) => {
    const entry = join(folder, "models--a--b");
    const snapshot = join(entry, "snapshots/0123");
    for (const path of [snapshot, join(entry, "blobs"), join(folder, "models--x--y/blobs")]) {
      await mkdir(path, { recursive: true });
    }
    await shard(join(entry, "blobs/cafe"), "a");
    await writeFile(join(entry, "blobs/beef"), '{"model_type": "llama"}');
    await symlink("../../blobs/cafe", join(snapshot, "model.safetensors"));
    await symlink("../../blobs/beef", join(snapshot, "config.json"));
    await symlink("../../blobs/beef", join(snapshot, "tokenizer.json"));
    const { tensors, config, others } = await openCheckpoint(snapshot);
    assert.deepEqual([...tensors.keys(), config!.model_type, ...others], [
      "a",
      "llama",
      "tokenizer.json",
    ]);
    await shard(join(folder, "models--x--y/blobs/dead"), "b");
    await rm(join(snapshot, "model.safetensors"));
    await symlink("../../../models--x--y/blobs/dead", join(snapshot, "model.safetensors"));
    await assert.rejects(openCheckpoint(snapshot), /must lie inside its folder/);
  }));

test("a FIFO for a shard, an index or a config is refused at once", () =>
  inFolder(async (_, folder) => {
    await sharded(folder);
    for (const name of [A, "config.json", "model.safetensors.index.json"]) {
      await rm(join(folder, name), { force: true });
      execFileSync("mkfifo", [join(folder, name)]);
      await assert.rejects(openCheckpoint(folder), /must be a regular file: got a FIFO/);
    }
  }));

test("a tensor named __proto__ is a tensor", () =>
  inFolder(async (_, folder) => {
    await shard(join(folder, A), "__proto__", "constructor");
    const text = `{"weight_map": {"__proto__": "${A}", "constructor": "${A}"}}`;
    await writeFile(join(folder, "model.safetensors.index.json"), text);
    assert.deepEqual(await names(folder), ["__proto__", "constructor"]);
  }));

test("the sharded fixture has 36 tensors in 6 files", { skip: noShared }, async () => {
  const path = join(SHARED, "fixtures/julia-alldtypes-and-sharded/sharded");
  const { files, tensors } = await openCheckpoint(path);
  assert.deepEqual([files.length, tensors.size], [6, 36]);
  for (const tensor of tensors.values()) {
    assert.equal((await tensor.bytes()).length, tensor.end - tensor.begin);
  }
});

test("every model folder of ../shared opens", { skip: noShared }, async () => {
  for (const name of ["tiny-llama", "models/stories260K", "models/gpt2-small-attn-bf16-sharded"]) {
    assert.ok((await openCheckpoint(join(SHARED, name))).tensors.size > 0);
  }
});
