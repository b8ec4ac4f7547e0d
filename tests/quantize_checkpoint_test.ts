/** Claims about lib/quantize_checkpoint.ts, on small checkpoints. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { openCheckpoint } from "../lib/checkpoint.ts";
import { formatNames } from "../lib/format.ts";
import { sha256 } from "../lib/hashed_file.ts";
import { widen } from "../lib/float16.ts";
import { readManifest } from "../lib/manifest.ts";
import { bitsPerWeight } from "../lib/pack.ts";
import { packedTensors, readPacked } from "../lib/packed_tensors.ts";
import { dequantize, quantize } from "../lib/quantizer.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { openSafetensors } from "../lib/safetensors.ts";
import { writeSafetensors } from "../lib/safetensors_writer.ts";
import { verifyCheckpoint } from "../lib/verify_checkpoint.ts";
import { CONFIG, folderHashes, inFolder, layer, makeModel } from "./made_checkpoints.ts";
import { makeShardedModel, outer, refusal, weights } from "./made_checkpoints.ts";

const Q0 = "model.layers.0.self_attn.q_proj.weight";

test("packed matrices are what quantize() gives, all else is carried over byte for byte", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"), { format: "fp3-asym", group: 32 });
    const source = await openCheckpoint(at("m"));
    const file = await openSafetensors(at("q", "model.safetensors"));
    const packed = packedTensors(file);
    assert.equal(packed.length, 4);
    for (const matrix of packed) {
      const tensor = source.tensors.get(matrix.name)!;
      const w = widen(await tensor.bytes(), matrix.dtype);
      const [rows, cols] = tensor.shape.map(Number);
      const q = quantize(w, { rows, cols, format: "fp3-asym", group: 32, name: matrix.name });
      assert.deepEqual(await readPacked(matrix), q);
    }
    const carried = file.tensors.filter(({ name }) => !/\.(codes|scales)$/.test(name));
    assert.equal(carried.length, source.tensors.size - 4);
    for (const tensor of carried) {
      assert.deepEqual(await tensor.bytes(), await source.tensors.get(tensor.name)!.bytes());
    }
  }));

test("OUT has config with quantization_config, tokenizer and afpq.json, and nothing else", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await mkdir(at("m", "original"));
    for (const name of ["pytorch_model.bin", "x.gguf", ".hidden", "consolidated.safetensors"]) {
      await writeFile(at("m", name), "");
    }
    await symlink(at("m", "tokenizer.json"), at("m", "same.json"));
    await quantizeCheckpoint(at("m"), at("q"), { group: "row" });
    assert.deepEqual((await readdir(at("q"))).sort(), [
      "afpq.json",
      "config.json",
      "model.safetensors",
      "same.json",
      "tokenizer.json",
    ]);
    const config = await readFile(at("q", "config.json"), "utf8");
    assert.ok(config.startsWith(CONFIG.slice(0, -3)), "the source's text stays");
    assert.deepEqual(JSON.parse(config).quantization_config, {
      quant_method: "afpq",
      format: "nf4-asym",
      group: "row",
      layout: 2,
    });
    assert.deepEqual((await readdir(at())).sort(), ["m", "q"]);
  }));

test("__metadata__ says format, group, shape, exponent and layout of each matrix", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"), { include: [Q0], format: "int3-sym", group: 16 });
    const { metadata } = await openSafetensors(at("q", "model.safetensors"));
    assert.deepEqual({ ...metadata }, {
      format: "afpq",
      layout: "2",
      "source:format": "pt",
      [`afpq:${Q0}`]:
        '{"format":"int3-sym","group":16,"rows":48,"cols":40,"scaleExponent":0,"underflows":0,"dtype":"BF16"}',
    });
  }));

test("shards mirror the source's shards under an index of the new names", () =>
  inFolder(async (at) => {
    await makeShardedModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"));
    const names = [1, 2].map((i) => `model-0000${i}-of-00002.safetensors`);
    const index = JSON.parse(await readFile(at("q", "model.safetensors.index.json"), "utf8"));
    const { tensors } = await openCheckpoint(at("q"));
    assert.equal(tensors.size, 9 + 4);
    assert.equal(index.weight_map[`${Q0}.codes`], names[0]);
    assert.equal(index.weight_map["lm_head.weight"], names[1]);
    const bytes = [...tensors.values()].reduce((sum, { begin, end }) => sum + end - begin, 0);
    assert.equal(index.metadata.total_size, bytes);
    assert.deepEqual((await verifyCheckpoint(at("q"))).faults, []);
  }));

test("one file gives OUT/model.safetensors and a config.json of its own", () =>
  inFolder(async (at) => {
    await writeSafetensors(at("some.safetensors"), [weights("w", [8, 172]), weights("b", [8])]);
    await writeFile(at("config.json"), "not of this file");
    const done = await quantizeCheckpoint(at("some.safetensors"), at("q"), { group: 64 });
    assert.deepEqual((await readdir(at("q"))).sort(), [
      "afpq.json",
      "config.json",
      "model.safetensors",
    ]);
    assert.deepEqual(Object.keys(JSON.parse(await readFile(at("q", "config.json"), "utf8"))), [
      "quantization_config",
    ]);
    assert.equal(done.tensors.length, 1);
  }));

test("afpq.json reports each matrix' error, and hashes every file and tensor", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const done = await quantizeCheckpoint(at("m"), at("q"));
    const bytes = await readFile(at("q", "afpq.json"));
    const { files, tensors, quantized } = readManifest(bytes, "afpq.json");
    const { "afpq.json": _, ...hashes } = await folderHashes(at("q"));
    assert.deepEqual(
      Object.fromEntries(Object.entries(files).map(([name, { sha256 }]) => [name, sha256])),
      hashes,
    );
    const file = await openSafetensors(at("q", "model.safetensors"));
    for (const tensor of file.tensors) {
      const { sha256: hash, file: name, bytes } = tensors[tensor.name];
      assert.deepEqual([hash, name, bytes], [
        sha256(await tensor.bytes()),
        "model.safetensors",
        tensor.end - tensor.begin,
      ]);
    }
    const source = (await openCheckpoint(at("m"))).tensors.get(Q0)!;
    const w = widen(await source.bytes(), "BF16");
    const q = quantize(w, { rows: 48, cols: 40, format: "nf4-asym" });
    const errors = dequantize(q).map((value, i) => value - w[i]);
    const squares = (array: Float32Array) => array.reduce((sum, value) => sum + value * value, 0);
    const report = quantized[Q0];
    assert.ok(Math.abs(report.nmse / (squares(errors) / squares(w)) - 1) < 1e-6);
    assert.ok(Math.abs(report.largestError - Math.max(...errors.map(Math.abs))) < 1e-9);
    assert.equal(report.bitsPerWeight, bitsPerWeight(q));
    assert.ok(done.nmse! > 0 && done.nmse! < 0.02);
  }));

test("the same source and options give the same bytes", () =>
  inFolder(async (at) => {
    await makeShardedModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q1"));
    await quantizeCheckpoint(at("m"), at("q2"));
    assert.deepEqual(await folderHashes(at("q1")), await folderHashes(at("q2")));
  }));

for (const format of [...formatNames, "e1m2-asym", "e3m0-sym", "custom:-1,-0.5,0,2-asym"]) {
  test(`${format} goes through and verifies`, () =>
    inFolder(async (at) => {
      await writeSafetensors(at("x.safetensors"), [weights("w", [5, 93], "F32")]);
      const done = await quantizeCheckpoint(at("x.safetensors"), at("q"), { format, group: 32 });
      assert.equal(done.tensors[0].format, format);
      assert.equal((await verifyCheckpoint(at("q"))).ok, true);
    }));
}

test("a dry run says what it would do and writes nothing", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const dry = await quantizeCheckpoint(at("m"), at("q"), { dryRun: true });
    assert.deepEqual(await readdir(at()), ["m"]);
    const done = await quantizeCheckpoint(at("m"), at("q"));
    const known = (
      { weights, bitsPerWeight, bytes }: typeof dry,
    ) => [weights, bitsPerWeight, bytes];
    assert.deepEqual(known(dry), known(done));
    assert.deepEqual([dry.nmse, dry.tensors[0].nmse], [null, null]);
  }));

test("progress counts every source byte once", () =>
  inFolder(async (at) => {
    await makeShardedModel(at("m"));
    const told: number[] = [];
    let total = 0;
    await quantizeCheckpoint(at("m"), at("q"), {
      onProgress: (done, of) => {
        told.push(done);
        total = of;
      },
    });
    assert.deepEqual(told, [...told].sort((a, b) => a - b));
    assert.equal(told.at(-1), total);
  }));

test("stopped at any tensor, nothing is left", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    for (let stopAt = 1; stopAt < 12; stopAt++) {
      const controller = new AbortController();
      let calls = 0;
      const onProgress = () => ++calls === stopAt && controller.abort();
      const options = { onProgress, signal: controller.signal };
      await assert.rejects(quantizeCheckpoint(at("m"), at("q"), options), { name: "AbortError" });
      assert.deepEqual(await readdir(at()), ["m"], `stopped at call ${stopAt}`);
    }
  }));

test("a weight that is not finite is refused by tensor and place, and nothing is left", () =>
  inFolder(async (at) => {
    const w = new Float32Array(64).fill(1);
    w[35] = NaN;
    const bad = {
      name: "bad",
      dtype: "F32",
      shape: [4, 16],
      bytes: () => new Uint8Array(w.buffer),
    } as const;
    await writeSafetensors(at("x.safetensors"), [weights("a", [2, 2]), bad]);
    const message = await refusal(quantizeCheckpoint(at("x.safetensors"), at("q")));
    assert.match(message, /^Cannot quantise "bad" \[4, 16\].*got NaN at \[2, 3\]$/);
    assert.deepEqual(await readdir(at()), ["x.safetensors"]);
  }));

test("a model that is quantised already is refused, by whomever", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"));
    for (const path of [at("q"), at("q", "model.safetensors")]) {
      assert.match(
        await refusal(quantizeCheckpoint(path, at("r"))),
        /quantization_config of "afpq"$/,
      );
    }
    await writeFile(at("m", "config.json"), '{"quantization_config": {"quant_method": "gptq"}}');
    const message = await refusal(quantizeCheckpoint(at("m"), at("r")));
    assert.match(message, /must not be quantised yet: got quantization_config of "gptq"$/);
  }));

test("a name that codes or scales would take is refused", () =>
  inFolder(async (at) => {
    await writeSafetensors(at("x.safetensors"), [weights("w", [4, 4]), weights("w.scales", [4])]);
    const message = await refusal(quantizeCheckpoint(at("x.safetensors"), at("q")));
    assert.equal(message, 'Cannot quantise "w" as the name "w.scales" must be free: got a tensor');
  }));

test("names with odd characters and metadata that looks like ours come through", () =>
  inFolder(async (at) => {
    const name = 'odd "name" \n é \u{1f600} __proto__';
    const metadata = { format: "pt", layout: "mine", "afpq:x": "{}", "source:y": "z", note: "n" };
    const tensors = [weights(name, [4, 4]), weights("__proto__", [4, 4])];
    await writeSafetensors(at("x.safetensors"), tensors, { metadata });
    await quantizeCheckpoint(at("x.safetensors"), at("q"));
    const packed = packedTensors(await openSafetensors(at("q", "model.safetensors")));
    assert.deepEqual(packed.map(({ name }) => name).sort(), ["__proto__", name]);
    assert.deepEqual((await verifyCheckpoint(at("q"))).faults, []);
  }));

test("shards in deeper folders are refused by name", () =>
  inFolder(async (at) => {
    await mkdir(at("m", "deep"), { recursive: true });
    await writeSafetensors(at("m", "deep", "a.safetensors"), layer(0));
    const map = Object.fromEntries(layer(0).map(({ name }) => [name, "deep/a.safetensors"]));
    await writeFile(
      at("m", "model.safetensors.index.json"),
      JSON.stringify({ weight_map: map }),
    );
    assert.match(
      await refusal(quantizeCheckpoint(at("m"), at("q"))),
      /shards must lie in the folder/,
    );
    assert.deepEqual(await readdir(at()), ["m"]);
  }));

test("a shard without any chosen tensor keeps its metadata", () =>
  inFolder(async (at) => {
    await makeShardedModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"), { include: ["*layers.0*proj*"] });
    const kept = await openSafetensors(at("q", "model-00002-of-00002.safetensors"));
    assert.equal(kept.metadata, null);
    assert.equal(outer.length, 3);
  }));
