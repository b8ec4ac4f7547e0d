/** Claims about lib/inspect_checkpoint.ts. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { inspectCheckpoint } from "../lib/inspect_checkpoint.ts";
import { packedMetadata, packedSources } from "../lib/packed_tensors.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { quantize } from "../lib/quantizer.ts";
import { writeSafetensors } from "../lib/safetensors_writer.ts";
import { inFolder, makeShardedModel, raw, refusal, values, weights } from "./made_checkpoints.ts";

test("a dense file is told by its header alone", () =>
  inFolder(async (at) => {
    const path = at("x.safetensors");
    const tensors = [weights("w", [2, 3]), raw("i", "I64", [], 8)];
    await writeSafetensors(path, tensors, { metadata: { format: "pt" } });
    const inspection = await inspectCheckpoint(path);
    assert.deepEqual({ ...inspection, metadata: { ...inspection.metadata } }, {
      path,
      metadata: { format: "pt" },
      tensors: [
        { name: "i", dtype: "I64", shape: [], file: "x.safetensors", begin: 0, end: 8 },
        { name: "w", dtype: "BF16", shape: [2, 3], file: "x.safetensors", begin: 8, end: 20 },
      ],
    });
  }));

test("no metadata is null", () =>
  inFolder(async (at) => {
    await writeSafetensors(at("x.safetensors"), [weights("w", [2, 3])]);
    assert.equal((await inspectCheckpoint(at("x.safetensors"))).metadata, null);
  }));

test("extents above 2^53 - 1 are strings", () =>
  inFolder(async (at) => {
    const header = '{"e":{"dtype":"U8","shape":[9007199254740991,9007199254740993,0],' +
      '"data_offsets":[0,0]}}';
    const bytes = new Uint8Array(8 + header.length);
    bytes[0] = header.length;
    bytes.set(new TextEncoder().encode(header), 8);
    const small = header.replace("9007199254740991,9007199254740993,0", "0,9007199254740993");
    const fitting = new Uint8Array(8 + small.length);
    fitting[0] = small.length;
    fitting.set(new TextEncoder().encode(small), 8);
    await writeFile(at("x.safetensors"), fitting);
    const { tensors } = await inspectCheckpoint(at("x.safetensors"));
    assert.deepEqual(tensors[0].shape, [0, "9007199254740993"]);
    await writeFile(at("y.safetensors"), bytes);
    assert.match(await refusal(inspectCheckpoint(at("y.safetensors"))), /2\^64/);
  }));

test("a quantised folder tells matrices under their source names, and the parts they are", () =>
  inFolder(async (at) => {
    await makeShardedModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"), { format: "int4-sym", group: 16 });
    const { tensors, quantized, format, group, bitsPerWeight } = await inspectCheckpoint(at("q"));
    assert.deepEqual([format, group], ["int4-sym", 16]);
    assert.equal(quantized!.length, 4);
    const q = quantized!.find(({ name }) => name === "model.layers.1.self_attn.q_proj.weight")!;
    // Rows of 40 columns: two units of 16 bytes, three groups of 2 bytes rounded up to four.
    assert.deepEqual(q, {
      name: "model.layers.1.self_attn.q_proj.weight",
      dtype: "BF16",
      rows: 48,
      cols: 40,
      format: "int4-sym",
      group: 16,
      bitsPerWeight: 8 * (32 + 8) / 40,
      scaleExponent: 0,
      underflows: 0,
    });
    const codes = tensors.find(({ name }) => name === `${q.name}.codes`)!;
    assert.deepEqual({ ...codes, begin: 0, end: codes.end - codes.begin }, {
      name: `${q.name}.codes`,
      dtype: "U32",
      shape: [48, 8],
      file: "model-00002-of-00002.safetensors",
      begin: 0,
      end: 48 * 32,
      source: q.name,
      format: "int4-sym",
      group: 16,
      bitsPerWeight: q.bitsPerWeight,
    });
    const dense = tensors.filter(({ format }) => format === undefined).map(({ name }) => name);
    assert.equal(dense.length, 5);
    const bits = quantized!.reduce((sum, m) => sum + m.bitsPerWeight * m.rows * m.cols, 0);
    const count = quantized!.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
    assert.ok(Math.abs(bitsPerWeight! - bits / count) < 1e-12);
  }));

test("format and group stand at the top only where they are the same everywhere", () =>
  inFolder(async (at) => {
    const w = values("w", [4, 64]);
    const packed = [["a", "nf4-asym", 32], ["b", "fp3-sym", 32]] as const;
    const matrices = packed.map(([name, format, group]) => ({
      ...quantize(w, { rows: 4, cols: 64, format, group, name }),
      dtype: "F32" as const,
    }));
    const sources = matrices.flatMap((q) => packedSources(q.name, q, () => Promise.resolve(q)));
    const metadata = packedMetadata(null, matrices);
    await writeSafetensors(at("x.safetensors"), sources, { metadata });
    const mixed = await inspectCheckpoint(at("x.safetensors"));
    assert.equal(mixed.group, 32);
    assert.ok(!("format" in mixed));
    assert.deepEqual(mixed.quantized!.map(({ name, format }) => [name, format]), [
      ["a", "nf4-asym"],
      ["b", "fp3-sym"],
    ]);
  }));

test("what is no checkpoint is refused in one line", () =>
  inFolder(async (at) => {
    assert.match(await refusal(inspectCheckpoint(at("none"))), /got nothing there$/);
    await writeFile(at("x.safetensors"), "not a header");
    const message = await refusal(inspectCheckpoint(at("x.safetensors")));
    assert.match(message, /x.safetensors/);
    assert.ok(!message.includes("\n"));
  }));
