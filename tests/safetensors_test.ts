import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { open, readdir, readFile, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openSafetensors } from "../lib/safetensors.ts";
import { inFolder } from "./made_checkpoints.ts";

const SHARED = join(dirname(fileURLToPath(import.meta.url)), "../../shared");
const FIXTURES = join(SHARED, "fixtures");
const noFixtures = existsSync(FIXTURES) ? false : "../shared/fixtures is not there";

function headOf(header: string): Uint8Array {
  const text = new TextEncoder().encode(header);
  const head = new Uint8Array(8 + text.length);
  new DataView(head.buffer).setBigUint64(0, BigInt(text.length), true);
  head.set(text, 8);
  return head;
}

async function writeFixture(path: string, header: string, data: Uint8Array): Promise<void> {
  await writeFile(path, new Uint8Array([...headOf(header), ...data]));
}

const W = '{"w":{"dtype":"U8","shape":[40],"data_offsets":[0,40]}}';
const DATA = Uint8Array.from({ length: 40 }, (_, i) => i * 7);

test("openSafetensors() reads nothing but the header, bytes() the tensor", () =>
  inFolder(async (_, folder) => {
    const path = join(folder, "w.safetensors");
    await writeFixture(path, W, DATA);
    const file = await openSafetensors(path);
    assert.equal(file.dataOffset, 8 + W.length);
    assert.equal(file.bytes, 8 + W.length + 40);
    assert.equal(file.metadata, null);
    const [{ name, dtype, shape, begin, end }] = file.tensors;
    assert.deepEqual([name, dtype, shape, begin, end], ["w", "U8", [40], 0, 40]);
    assert.equal(file.tensors[0].file, path);
    assert.deepEqual(await file.tensors[0].bytes(), DATA);
  }));

test("chunks() gives the same bytes in pieces of any length", () =>
  inFolder(async (_, folder) => {
    const path = join(folder, "w.safetensors");
    await writeFixture(path, W, DATA);
    const [tensor] = (await openSafetensors(path)).tensors;
    for (const bytesPerChunk of [1, 7, 39, 40, 41, undefined]) {
      const read: number[] = [];
      for await (const piece of tensor.chunks(bytesPerChunk)) {
        assert.ok(piece.length <= (bytesPerChunk ?? Infinity));
        read.push(...piece);
      }
      assert.deepEqual(Uint8Array.from(read), DATA);
    }
    await assert.rejects(tensor.chunks(0)[Symbol.asyncIterator]().next(), RangeError);
  }));

test("tensors beyond 4 GiB are read at their own place", () =>
  inFolder(async (_, folder) => {
    const path = join(folder, "big.safetensors");
    const far = 5 * 2 ** 30;
    const head = headOf(
      `{"zeros":{"dtype":"U8","shape":[${far}],"data_offsets":[0,${far}]},` +
        `"tail":{"dtype":"F32","shape":[1],"data_offsets":[${far},${far + 4}]}}`,
    );
    const handle = await open(path, "wx");
    await handle.write(head, 0, head.length, 0);
    await handle.write(Uint8Array.of(1, 2, 3, 4), 0, 4, head.length + far);
    await handle.close();
    const file = await openSafetensors(path);
    assert.equal(file.bytes, head.length + far + 4);
    assert.deepEqual(await file.tensors[1].bytes(), Uint8Array.of(1, 2, 3, 4));
    for await (const piece of file.tensors[0].chunks()) {
      assert.equal(piece.length, 2 ** 24);
      break;
    }
  }));

test("a header length that lies about a sparse file costs nothing", () =>
  inFolder(async (_, folder) => {
    const path = join(folder, "lie.safetensors");
    await writeFile(path, Uint8Array.of(0, 225, 245, 5, 0, 0, 0, 0)); // 100,000,000
    await truncate(path, 200_000_000);
    await assert.rejects(openSafetensors(path), /must begin with "{": got byte 0x0/);
  }));

test("a file that shrinks, grows or is touched after opening is refused", () =>
  inFolder(async (_, folder) => {
    const path = join(folder, "w.safetensors");
    await writeFixture(path, W, DATA);
    const [tensor] = (await openSafetensors(path)).tensors;
    await truncate(path, 8 + W.length + 39);
    await assert.rejects(tensor.bytes(), /must stay as it was, 103 bytes: got 102 bytes/);
    await writeFixture(path, W, DATA);
    await utimes(path, 1, 1);
    await assert.rejects(tensor.bytes(), /must stay as it was, 103 bytes: got a later change/);
    await rm(path);
    await assert.rejects(tensor.bytes(), /must be a file: got nothing there/);
  }));

test("a file that shrinks during a read is refused", () =>
  inFolder(async (_, folder) => {
    const path = join(folder, "w.safetensors");
    await writeFixture(path, W, DATA);
    const [tensor] = (await openSafetensors(path)).tensors;
    const pieces = tensor.chunks(8)[Symbol.asyncIterator]();
    await pieces.next();
    await truncate(path, 8 + W.length + 10);
    await assert.rejects(async () => {
      while (!(await pieces.next()).done);
    }, /must still have 103 bytes: got its end at byte 73/);
  }));

const NO_FILES: [string, (path: string) => Promise<void> | void, RegExp][] = [
  ["nothing", () => {}, /must be a file: got nothing there/],
  ["a FIFO", (path) => void execFileSync("mkfifo", [path]), /regular file: got a FIFO/],
  ["an empty file", (path) => writeFile(path, ""), /at least 8 bytes: got 0/],
  [
    "a Git LFS pointer",
    (path) => writeFile(path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    /must hold tensors: got a Git LFS pointer/,
  ],
  [
    "an LFS pointer of few bytes",
    (path) => writeFile(path, "version https://git-lfs.github.com/"),
    /got a Git LFS pointer/,
  ],
];
for (const [name, make, message] of NO_FILES) {
  test(`openSafetensors() refuses ${name} at once`, () =>
    inFolder(async (_, folder) => {
      const path = join(folder, "w.safetensors");
      await make(path);
      await assert.rejects(openSafetensors(path), message);
    }));
}

test("openSafetensors() refuses a folder and a device at once", async () => {
  await assert.rejects(openSafetensors(tmpdir()), /regular file: got a folder/);
  await assert.rejects(openSafetensors("/dev/zero"), /regular file: got a device/);
});

test(
  "every fixture of other writers reads, and its tensors tile its data",
  { skip: noFixtures },
  async () => {
    const names = (await readdir(FIXTURES, { recursive: true })).filter((name) =>
      /\.safetensors$/.test(name)
    );
    assert.ok(names.length >= 15);
    for (const name of names) {
      const file = await openSafetensors(join(FIXTURES, name));
      const whole = await readFile(join(FIXTURES, name));
      for (const tensor of file.tensors) {
        const expected = whole.subarray(
          file.dataOffset + tensor.begin,
          file.dataOffset + tensor.end,
        );
        assert.ok(expected.equals(await tensor.bytes()), `${name} ${tensor.name}`);
      }
      assert.equal(file.dataOffset + (file.tensors.at(-1)?.end ?? 0), whole.length);
    }
  },
);

test("a fixture's header of 60 bytes, no multiple of 8, reads", { skip: noFixtures }, async () => {
  const file = await openSafetensors(join(FIXTURES, "swift/SafetensorsTests/data.safetensors"));
  assert.equal(file.dataOffset, 68);
});

test(
  "the bit-exact fixtures give subnormal, one, infinity and NaN",
  { skip: noFixtures },
  async () => {
    const read = async (name: string) => {
      const { tensors } = await openSafetensors(join(FIXTURES, "raven-nx/fixtures", name));
      return [...new Uint16Array((await tensors[0].bytes()).buffer)];
    };
    assert.deepEqual(await read("f16_bit_exact.safetensors"), [0, 1, 0x3c00, 0x7c00, 0x7e01]);
    assert.deepEqual(await read("bf16_bit_exact.safetensors"), [0, 1, 0x3f80, 0x7f80, 0x7fc1]);
  },
);
