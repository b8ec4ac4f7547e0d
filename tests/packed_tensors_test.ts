/** Claims about lib/packed_tensors.ts: ours reads back, what a stranger wrote is checked. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { format, formatNames } from "../lib/format.ts";
import { type Group, groups } from "../lib/pack.ts";
import { packedBytes } from "../lib/pack_scales.ts";
import {
  metadataRoom,
  packedMetadata,
  packedSources,
  packedTensors,
  readPacked,
  sourceMetadata,
} from "../lib/packed_tensors.ts";
import { quantize } from "../lib/quantizer.ts";
import { openSafetensors } from "../lib/safetensors.ts";
import { type TensorSource, writeSafetensors } from "../lib/safetensors_writer.ts";
import { type At, inFolder, refusal, values } from "./made_checkpoints.ts";

const [rows, cols, name] = [3, 70, "w"];

function matrix(formatName: string, group: Group, scale = 1) {
  const w = values(name, [rows, cols]).map((weight) => weight * scale);
  return quantize(w, { rows, cols, format: formatName, group, name });
}

/** Writes one matrix; gives the opened file. */
async function written(at: At, q: ReturnType<typeof matrix>, metadata?: Record<string, string>) {
  const path = at("x.safetensors");
  const facts = { ...q, dtype: "F32" } as const;
  await writeSafetensors(path, packedSources(name, q, () => Promise.resolve(q)), {
    metadata: metadata ?? packedMetadata(null, [facts]),
  });
  return await openSafetensors(path);
}

for (const formatName of [...formatNames, "e1m2-asym", "custom:-1,0,2-sym"]) {
  test(`${formatName} reads back as it was, in every group, scaled or not`, () =>
    inFolder(async (at) => {
      for (const group of groups) {
        for (const scale of [1, 1e30, 1e-30]) {
          const q = matrix(formatName, group, scale);
          const [packed] = packedTensors(await written(at, q));
          const { format: read, ...rest } = await readPacked(packed);
          const { format: made, ...wanted } = q;
          assert.deepEqual(rest, wanted);
          assert.equal(read.name, made.name);
          assert.equal(packedBytes(q), q.codes.byteLength + q.scales.byteLength);
        }
      }
    }));
}

test("coded scales read back as they were", () =>
  inFolder(async (at) => {
    const w = values(name, [rows, cols]);
    for (const scales of ["e1m3-row", "e2m2-tensor", "e4m4-row", "e8m0-tensor"]) {
      for (const format of ["nf4-asym", "fp3-sym", "int4-asym"]) {
        const q = quantize(w, { rows, cols, format, group: 16, name, scales });
        const [packed] = packedTensors(await written(at, q));
        const { dtype: _, ...rest } = { dtype: "", ...await readPacked(packed) };
        assert.deepEqual(rest, q);
        assert.equal(packedBytes(q), q.codes.byteLength + q.scales.byteLength);
      }
    }
  }));

/** Storage of scales, and what a stranger puts at a byte: row 1 begins at byte 4, or 3. */
const STRANGE: [string, number, number][] = [
  ["e1m3-row", 5, 0x80], // a negative factor
  ["e1m3-row", 5, 0x7c], // an infinite one
  ["e1m3-row", 5, 0x00], // a subnormal one
  ["e8m0-tensor", 4, 0], // codes that are no scale
  ["e8m0-tensor", 4, 255],
];

for (const [scales, at, byte] of STRANGE) {
  test(`${scales}: byte ${byte} where it makes no scale is refused`, () =>
    inFolder(async (folder) => {
      const w = values(name, [rows, cols]);
      const q = quantize(w, { rows, cols, format: "nf4-sym", group: 32, name, scales });
      q.scales[at - at % 4] ||= 1; // the low byte of a factor
      q.scales[at] = byte;
      const [packed] = packedTensors(await written(folder, q));
      assert.match(await refusal(readPacked(packed)), /0 or positive, normal and finite: got bits/);
    }));
}

test("the room kept for metadata is enough, whatever the numbers and names become", () => {
  const q = matrix("nf4-asym", 128);
  for (const odd of ["w", 'é"\n\u{1f600}', "w".repeat(1000)]) {
    const facts = { ...q, name: odd, dtype: "BF16" } as const;
    const room = metadataRoom({ format: "pt" }, [facts]);
    for (const [scaleExponent, underflows] of [[0, 0], [-240, 2 ** 40], [1000, 1]]) {
      const all = packedMetadata({ format: "pt" }, [{ ...facts, scaleExponent, underflows }]);
      const bytes = new TextEncoder().encode(`"__metadata__":${JSON.stringify(all)},`).length;
      assert.ok(bytes <= room, `${bytes} > ${room}`);
    }
  }
});

test("the source's metadata comes back, also where it looks like ours", () =>
  inFolder(async (at) => {
    const q = matrix("nf4-asym", 128);
    const sources: (Record<string, string> | null)[] = [
      null,
      { format: "pt" },
      { layout: "9", "afpq:w": "x", "source:a": "b" },
    ];
    for (const source of sources) {
      const metadata = packedMetadata(source, [{ ...q, dtype: "F16" }]);
      const file = await written(at, q, metadata);
      assert.equal(packedTensors(file).length, 1);
      assert.deepEqual(sourceMetadata(file), source);
    }
  }));

test("a dense file has no matrices, whatever its metadata says about itself", () =>
  inFolder(async (at) => {
    const q = matrix("nf4-asym", 128);
    for (const metadata of [{}, { format: "pt", "afpq:w": "{}" }, { format: "afpq" }]) {
      assert.deepEqual(packedTensors(await written(at, q, metadata as never)), []);
    }
  }));

const good = JSON.parse(
  packedMetadata(null, [{ ...matrix("nf4-asym", 32), dtype: "F32" }])["afpq:w"],
);

/** Each: what the metadata of a matrix claims, and what is said about it. */
const claims: [claim: unknown, says: RegExp][] = [
  [{ rows: 4 }, /"w.codes" must be U32 \[4, 12\]: got U32 \[3, 12\]/],
  [{ cols: 71 }, /^not refused$/],
  [{ cols: 33 }, /"w.codes" must be U32 \[3, 8\]: got U32 \[3, 12\]/],
  [{ rows: 0 }, /rows must be an integer in \[1, \d+\]: got 0/],
  [{ rows: -3 }, /rows must be an integer/],
  [{ rows: 3.5 }, /rows must be an integer/],
  [{ rows: "3" }, /rows must be an integer/],
  [{ rows: 2 ** 60 }, /rows must be an integer/],
  [{ cols: null }, /cols must be an integer/],
  [{ group: 16 }, /"w.scales" must be F16 \[3, 5, 2\]: got F16 \[3, 3, 2\]/],
  [{ group: 0 }, /group must be a power of two/],
  [{ group: 48 }, /group must be a power of two/],
  [{ group: "rows" }, /group must be a power of two/],
  [{ group: [32] }, /group must be a power of two/],
  [{ format: "nf5-asym" }, /format must be one that this version knows: got "nf5-asym"/],
  [{ format: 4 }, /format must be a name/],
  [{ format: "nf3-asym" }, /"w.codes" must be U32 \[3, 9\]/],
  [{ format: "nf4-sym" }, /"w.scales" must be F16 \[3, 4\]: got F16 \[3, 3, 2\]/],
  [{ format: "custom:1e99,0-asym" }, /format must be one that this version knows/],
  [{ scaleExponent: 1001 }, /scaleExponent must be an integer in \[-1000, 1000\]/],
  [{ scaleExponent: 0.5 }, /scaleExponent must be/],
  [{ underflows: -1 }, /underflows must be/],
  [{ dtype: "F64" }, /dtype must be F32, F16 or BF16/],
  [null, /metadata must be an object/],
];

for (const [claim, says] of claims) {
  test(`metadata that claims ${JSON.stringify(claim)}: ${says.source}`, () =>
    inFolder(async (at) => {
      const text = JSON.stringify(claim === null ? [] : { ...good, ...claim as object });
      const metadata = { format: "afpq", layout: "2", "afpq:w": text };
      const file = written(at, matrix("nf4-asym", 32), metadata).then(packedTensors);
      assert.match(await refusal(file), says);
    }));
}

test("text that is no strict JSON, and matrices without tensors, are refused by name", () =>
  inFolder(async (at) => {
    const q = matrix("nf4-asym", 32);
    for (const text of ["", "{", '{"rows":3,"rows":3}', JSON.stringify(good) + "x"]) {
      const metadata = { format: "afpq", layout: "2", "afpq:w": text };
      assert.match(await refusal(written(at, q, metadata).then(packedTensors)), /metadata of "w"/);
    }
    const other = { format: "afpq", layout: "2", "afpq:v": JSON.stringify(good) };
    assert.match(
      await refusal(written(at, q, other).then(packedTensors)),
      /^Cannot read "v" of ".*x.safetensors" as "v.codes" must be there: got none$/,
    );
  }));

test("another layout is refused by its version", () =>
  inFolder(async (at) => {
    const metadata = { format: "afpq", layout: "1", "afpq:w": "whatever" };
    assert.match(
      await refusal(written(at, matrix("nf4-asym", 32), metadata).then(packedTensors)),
      /x.safetensors" as its packed layout must be version 2: got "1"$/,
    );
  }));

for (const bits of [0x8000, 0xbc00, 0x7c00, 0x7e00, 0xffff, 0x0001, 0x03ff]) {
  test(`a scale of f16 bits 0x${bits.toString(16)} is refused`, () =>
    inFolder(async (at) => {
      const q = matrix("nf4-asym", 32);
      q.scales[7] = bits;
      const [packed] = packedTensors(await written(at, q));
      assert.match(
        await refusal(readPacked(packed)),
        /^Cannot read "w.scales" \[3, 3, 2\] of .* 0 or positive, normal and finite: got bits .* at 7$/,
      );
    }));
}

test("codes are asked for once, and scales not held after they are given", async () => {
  const q = matrix("nf4-asym", 32);
  let made = 0;
  const [codes, scales] = packedSources(name, { ...q, format: format("nf4-asym") }, () => {
    made++;
    return Promise.resolve(q);
  }) as Required<TensorSource>[];
  assert.equal((await codes.bytes()).length, q.codes.byteLength);
  assert.equal((await scales.bytes()).length, q.scales.byteLength);
  assert.equal(made, 1);
  assert.throws(() => scales.bytes());
});
