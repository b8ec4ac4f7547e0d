/** Claims about lib/block_store.ts. */
import assert from "node:assert/strict";
import { readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { openBlockStore } from "../lib/block_store.ts";
import { processTag } from "../lib/output_folder.ts";
import { quantize } from "../lib/quantizer.ts";
import { inFolder } from "./made_checkpoints.ts";
import { fill, normal } from "./random.ts";

const block = (seed: number) => ({
  matrices: new Map([[
    "a.weight",
    quantize(fill(64, normal(seed)), {
      rows: 2,
      cols: 32,
      format: "nf3-asym",
      name: "a.weight",
    }),
  ]]),
  vectors: new Map([["norm.weight", Float32Array.of(1, seed)]]),
  report: { seed },
});

test("blocks come back as they were put, also in a later run with the same key", () =>
  inFolder(async (at) => {
    const store = await openBlockStore<{ seed: number }>(at("out"), "key");
    for (const seed of [1, 2]) await store.add(block(seed));
    const again = await openBlockStore<{ seed: number }>(at("out"), "key");
    assert.equal(again.count(), 2);
    assert.deepEqual(await again.read(1), block(2));
  }));

test("a block whose file was changed does not count, nor do those after it", () =>
  inFolder(async (at) => {
    const store = await openBlockStore(at("out"), "key");
    for (const seed of [1, 2, 3]) await store.add(block(seed));
    const file = join(store.path, "block-1.safetensors");
    const bytes = await readFile(file);
    bytes[bytes.length - 1] ^= 1;
    await writeFile(file, bytes);
    const again = await openBlockStore(at("out"), "key");
    assert.equal(again.count(), 1);
    await again.add(block(4));
    assert.equal((await openBlockStore(at("out"), "key")).count(), 2);
  }));

test("a list that is no list counts for nothing", () =>
  inFolder(async (at) => {
    const store = await openBlockStore(at("out"), "key");
    await store.add(block(1));
    await writeFile(join(store.path, "blocks.json"), "{");
    assert.equal((await openBlockStore(at("out"), "key")).count(), 0);
  }));

test("another key begins anew, and says what it removed", () =>
  inFolder(async (at) => {
    await (await openBlockStore(at("out"), "key")).add(block(1));
    const lines: string[] = [];
    const other = await openBlockStore(at("out"), "other", (line) => lines.push(line));
    assert.equal(other.count(), 0);
    assert.match(lines[0], /^removed ".*\.out\.blocks-[0-9a-f]{16}", blocks quantised with other/);
    await other.remove();
    assert.deepEqual(await readdir(at()), []);
  }));

test("a store that a living process is at work on stays, and no second run takes it over", () =>
  inFolder(async (at) => {
    const [host] = processTag().split("-");
    const running = (path: string, pid: number) => join(path, `running-${host}-${pid}`);
    const store = await openBlockStore(at("out"), "key");
    await store.add(block(1));
    await store.release();
    await writeFile(running(store.path, 1), "");
    const lines: string[] = [];
    const other = await openBlockStore(at("out"), "other", (line) => void lines.push(line));
    assert.match(
      lines.join(),
      /^left ".*" alone: another run with other options is at work on it$/,
    );
    await assert.rejects(openBlockStore(at("out"), "key"), {
      message:
        `Cannot write "${at("out")}" as one run at a time may be at work on it: got another, ` +
        `in "${store.path}"`,
    });
    await rename(running(store.path, 1), running(store.path, 2 ** 22 + 1)); // no process has that
    assert.equal((await openBlockStore(at("out"), "key")).count(), 1);
    await other.remove().catch(() => {});
    assert.deepEqual((await readdir(at())).length, 1);
  }));
