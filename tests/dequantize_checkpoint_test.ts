/** Claims about lib/dequantize_checkpoint.ts. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { openCheckpoint } from "../lib/checkpoint.ts";
import { dequantizeCheckpoint } from "../lib/dequantize_checkpoint.ts";
import { type FloatDtype, narrow, widen } from "../lib/float16.ts";
import { packedTensors, readPacked } from "../lib/packed_tensors.ts";
import { dequantize } from "../lib/quantizer.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { openSafetensors } from "../lib/safetensors.ts";
import { writeSafetensors } from "../lib/safetensors_writer.ts";
import { CONFIG, inFolder, makeModel, makeShardedModel } from "./made_checkpoints.ts";
import { refusal, weights } from "./made_checkpoints.ts";

for (const dtype of [undefined, "F32", "F16", "BF16"] as (FloatDtype | undefined)[]) {
  test(`weights read back as dequantize() gives them, as ${dtype ?? "they were made from"}`, () =>
    inFolder(async (at) => {
      await makeModel(at("m"));
      await quantizeCheckpoint(at("m"), at("q"), { format: "nf3-asym", group: 16 });
      await dequantizeCheckpoint(at("q"), at("d"), { dtype });
      const source = await openCheckpoint(at("m"));
      const back = await openCheckpoint(at("d"));
      const packed = packedTensors(await openSafetensors(at("q", "model.safetensors")));
      const byName = new Map(packed.map((matrix) => [matrix.name, matrix]));
      assert.deepEqual([...back.tensors.keys()].sort(), [...source.tensors.keys()].sort());
      for (const [name, tensor] of back.tensors) {
        const matrix = byName.get(name);
        const from = source.tensors.get(name)!;
        assert.deepEqual(tensor.shape, from.shape);
        assert.equal(tensor.dtype, matrix && dtype ? dtype : from.dtype);
        const wanted = matrix
          ? narrow(dequantize(await readPacked(matrix)), tensor.dtype as FloatDtype)
          : await from.bytes();
        assert.deepEqual(await tensor.bytes(), wanted, name);
      }
    }));
}

test("names, config and metadata are the source's again", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"));
    await dequantizeCheckpoint(at("q"), at("d"));
    assert.deepEqual((await readdir(at("d"))).sort(), (await readdir(at("m"))).sort());
    assert.equal(await readFile(at("d", "config.json"), "utf8"), CONFIG);
    const { metadata } = await openSafetensors(at("d", "model.safetensors"));
    assert.deepEqual({ ...metadata }, { format: "pt" });
  }));

test("shards come back under their names, with an index that fits", () =>
  inFolder(async (at) => {
    await makeShardedModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"));
    await dequantizeCheckpoint(at("q"), at("d"));
    assert.deepEqual((await readdir(at("d"))).sort(), (await readdir(at("m"))).sort());
    const names = async (path: string) => [...(await openCheckpoint(path)).tensors.keys()].sort();
    assert.deepEqual(await names(at("d")), await names(at("m")));
    const { metadata } = await openSafetensors(at("d", "model-00001-of-00002.safetensors"));
    assert.equal(metadata, null);
  }));

test("odd metadata of the source comes back as it was", () =>
  inFolder(async (at) => {
    const metadata = { format: "pt", layout: "mine", "afpq:x": "{}", "source:y": "z", note: "n" };
    await writeSafetensors(at("x.safetensors"), [weights("w", [4, 4])], { metadata });
    await quantizeCheckpoint(at("x.safetensors"), at("q"));
    await dequantizeCheckpoint(at("q"), at("d"));
    const back = await openSafetensors(at("d", "model.safetensors"));
    assert.deepEqual({ ...back.metadata }, metadata);
    assert.deepEqual(await readdir(at("d")), ["model.safetensors"]);
  }));

test("what was dequantised can be quantised again", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"));
    await dequantizeCheckpoint(at("q"), at("d"));
    const again = await quantizeCheckpoint(at("d"), at("r"));
    assert.equal(again.tensors.length, 4);
  }));

test("a dense checkpoint is refused", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const message = await refusal(dequantizeCheckpoint(at("m"), at("d")));
    assert.match(message, /^Cannot dequantise ".*m" as it must hold afpq tensors: got none$/);
  }));

test("stopped at any tensor, nothing is left", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"));
    const controller = new AbortController();
    const options = { onProgress: () => controller.abort(), signal: controller.signal };
    await assert.rejects(dequantizeCheckpoint(at("q"), at("d"), options), { name: "AbortError" });
    assert.deepEqual((await readdir(at())).sort(), ["m", "q"]);
  }));

test("no weight becomes infinite: rounding ends at the largest, what is out of range is refused", () =>
  inFolder(async (at) => {
    const largest = { F32: 3.4028234663852886e38, F16: 65504, BF16: 3.3895313892515355e38 };
    for (const [dtype, most] of Object.entries(largest) as [FloatDtype, number][]) {
      const w = Float32Array.from({ length: 64 }, (_, i) => (i % 2 ? -most : most) / (1 + i % 5));
      await writeSafetensors(at(`${dtype}.safetensors`), [
        { name: "w", dtype, shape: [2, 32], bytes: () => narrow(w, dtype) },
      ]);
      for (const format of ["int3-asym", "int4-asym", "fp4-sym", "nf4-asym"]) {
        const q = at(`${dtype} ${format}`);
        const { nmse } = await quantizeCheckpoint(at(`${dtype}.safetensors`), q, { format });
        assert.ok(Number.isFinite(nmse), `${format} of ${dtype}: ${nmse}`);
        await dequantizeCheckpoint(q, at("d"), { force: true });
        const [back] = (await openSafetensors(at("d", "model.safetensors"))).tensors;
        assert.ok(widen(await back.bytes(), dtype).every(Number.isFinite), `${format} of ${dtype}`);
      }
    }
    await assert.rejects(
      dequantizeCheckpoint(at("BF16 fp4-sym"), at("half"), { dtype: "F16" }),
      /^RangeError: Cannot dequantise "w" \[2, 32\] as F16 weights must be at most 65504: got [\d.e+]+ at \[0, 0\]$/,
    );
  }));
