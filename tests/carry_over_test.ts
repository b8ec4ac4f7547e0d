/** Claims about lib/carry_over.ts. */
import assert from "node:assert/strict";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { test } from "node:test";
import {
  carriedFiles,
  carryFiles,
  configText,
  INDEX_NAME,
  indexText,
  outputName,
  writeTexts,
} from "../lib/carry_over.ts";
import { openCheckpoint } from "../lib/checkpoint.ts";
import { sha256 } from "../lib/hashed_file.ts";
import { CONFIG, inFolder, makeModel, makeShardedModel, outer } from "./made_checkpoints.ts";

test("small files go along, weights in other forms and hidden files stay", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const stays = [
      "pytorch_model.bin",
      "model-00001-of-00002.bin",
      "ggml-f16.bin",
      "pytorch_model.bin.index.json",
      "model.onnx",
      "consolidated.00.pth",
      "Model.GGUF",
      "other.safetensors",
      "afpq.json",
      ".gitattributes",
    ];
    const goes = [
      "LICENSE",
      "README.md",
      "merges.txt",
      "modeling_x.py",
      "tok512.bin",
      "tokenizer.model",
    ];
    for (const name of [...stays, ...goes]) await writeFile(at("m", name), name);
    const checkpoint = await openCheckpoint(at("m"));
    const carried = await carriedFiles(checkpoint);
    assert.deepEqual([...carried.keys()].sort(), [...goes, "tokenizer.json"].sort());
    assert.equal(carried.get("LICENSE"), 7);
    await mkdir(at("to"));
    const copied = new Map(await carryFiles(checkpoint, at("to")));
    assert.deepEqual(copied.get("LICENSE"), { bytes: 7, sha256: sha256("LICENSE") });
    assert.equal(await readFile(at("to", "LICENSE"), "utf8"), "LICENSE");
  }));

test("files keep their names; a file named by itself becomes model.safetensors", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await rename(at("m", "model.safetensors"), at("m", "weights.safetensors"));
    const names = async (path: string) => {
      const checkpoint = await openCheckpoint(path);
      return checkpoint.files.map((file) => outputName(checkpoint, file));
    };
    assert.deepEqual(await names(at("m")), ["weights.safetensors"]);
    assert.deepEqual(await names(`${at("m")}/`), ["weights.safetensors"]);
    assert.deepEqual(await names(at("m", "weights.safetensors")), ["model.safetensors"]);
  }));

test("an index is written where the source had one, also over a single shard", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const tensors = new Map([["a.safetensors", outer]]);
    const text = async (path: string) => await indexText(await openCheckpoint(path), tensors);
    assert.equal(await text(at("m")), null);
    await rename(at("m", "model.safetensors"), at("m", "a.safetensors"));
    assert.equal(await text(at("m")), null);
    const checkpoint = await openCheckpoint(at("m"));
    const map = Object.fromEntries([...checkpoint.tensors.keys()].map((n) => [n, "a.safetensors"]));
    await writeFile(at("m", INDEX_NAME), JSON.stringify({ weight_map: map }));
    assert.deepEqual(JSON.parse((await text(at("m")))!), {
      metadata: { total_size: 2 * (64 * 40 + 64 * 40 + 40) },
      weight_map: {
        "lm_head.weight": "a.safetensors",
        "model.embed_tokens.weight": "a.safetensors",
        "model.norm.weight": "a.safetensors",
      },
    });
    assert.equal(await text(at("m", "a.safetensors")), null);
  }));

test("config.json is told as text, and of a folder only", () =>
  inFolder(async (at) => {
    await makeShardedModel(at("m"));
    assert.equal(await configText(await openCheckpoint(at("m"))), CONFIG);
    const shard = at("m", "model-00001-of-00002.safetensors");
    assert.equal(await configText(await openCheckpoint(shard)), null);
  }));

test("texts that are null are not written", () =>
  inFolder(async (at) => {
    const written = await writeTexts(at(), { "a.json": "é", "b.json": null });
    assert.deepEqual(written, [["a.json", { bytes: 2, sha256: sha256("é") }]]);
  }));
