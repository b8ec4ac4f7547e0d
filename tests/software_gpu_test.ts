import assert from "node:assert/strict";
import { readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { readTar, unpackedFolder } from "../lib/software_gpu.ts";
import { cannotHide, lib, runChild } from "./child_process.ts";
import { inFolder } from "./made_checkpoints.ts";
import { testUnless } from "./test_unless.ts";

/** A tar archive of one entry. */
function tar(
  name: string,
  content: string,
  { type = "0", bytes = content.length } = {},
): Uint8Array {
  const archive = new Uint8Array(512 + Math.ceil(content.length / 512) * 512 + 1024);
  const put = (text: string, at: number) => archive.set(new TextEncoder().encode(text), at);
  put(name, 0);
  put(bytes.toString(8).padStart(11, "0"), 124);
  put(type, 156);
  put(content, 512);
  return archive;
}

test("readTar() gives each regular file's bytes", () => {
  const one = tar("one.txt", "x".repeat(513)).subarray(0, 3 * 512);
  const files = readTar(new Uint8Array([...one, ...tar("two.txt", "2")]));
  assert.deepEqual([...files.keys()], ["one.txt", "two.txt"]);
  assert.equal(files.get("one.txt")!.length, 513);
  assert.equal(new TextDecoder().decode(files.get("two.txt")), "2");
});

test("readTar() leaves out what is not a regular file", () => {
  assert.equal(readTar(tar("link", "", { type: "2" })).size, 0);
});

test("readTar() refuses an entry that is longer than the archive, or has no size", () => {
  assert.throws(() => readTar(tar("a", "b", { bytes: 9999 })), /Cannot read tar entry "a"/);
  const odd = tar("a", "b");
  odd.fill(0x7a, 124, 135);
  assert.throws(() => readTar(odd), SyntaxError);
});

const UNPACK = `import { unpackedFolder } from "${lib}software_gpu.ts";
  console.log(await unpackedFolder({ log: (line) => console.error(line) }));`;

test("the embedded GPU is not fetched where that is not wanted", async () => {
  await inFolder(async (_, cache) => {
    const code = `import { openDevice } from "${lib}device.ts";
      const wanted = { binding: "software", embedded: true, fetch: false };
      await openDevice(wanted).catch(({ message }) => console.log(message));`;
    const { stdout } = await runChild(code, { env: { XDG_CACHE_HOME: cache } });
    assert.match(stdout, /^Cannot open a device: The embedded software GPU .*\n$/);
    assert.ok(!(await readdir(cache)).includes("afpq"));
  });
});

const fetched = await whyNotFetched();

testUnless(
  fetched,
  "it is unpacked once, said in one line, in a folder for the user alone",
  async () => {
    await inFolder(async (_, cache) => {
      const env = { XDG_CACHE_HOME: cache };
      const first = await runChild(UNPACK, { env });
      assert.equal(first.code, 0, first.stderr);
      assert.match(first.stderr, /^Unpacking a software GPU .* about 70 MB .*\n$/);
      const folder = first.stdout.trim();
      assert.equal((await stat(folder)).mode & 0o777, 0o700);
      assert.deepEqual(await readdir(join(cache, "afpq")), [folder.split("/").at(-1)]);
      assert.equal((await runChild(UNPACK, { env })).stderr, "");
    });
  },
);

testUnless(fetched, "a damaged file is found and replaced", async () => {
  await inFolder(async (_, cache) => {
    const env = { XDG_CACHE_HOME: cache };
    const folder = (await runChild(UNPACK, { env })).stdout.trim();
    await writeFile(join(folder, "libvulkan.so.1"), "not a library");
    const again = await runChild(UNPACK, { env });
    assert.match(again.stderr, /^Unpacking/);
    assert.equal((await runChild(UNPACK, { env })).stderr, "");
    assert.equal((await readdir(join(cache, "afpq"))).length, 1);
  });
});

testUnless(fetched, "processes that unpack at once all get it whole", async () => {
  await inFolder(async (_, cache) => {
    const env = { XDG_CACHE_HOME: cache };
    const all = await Promise.all([1, 2, 3].map(() => runChild(UNPACK, { env })));
    assert.deepEqual(all.map(({ code }) => code), [0, 0, 0], all.map((e) => e.stderr).join());
    assert.equal((await readdir(join(cache, "afpq"))).length, 1);
  });
});

const OPEN = `import { openDevice } from "${lib}device.ts";
  const device = await openDevice({ binding: "software", embedded: true });
  console.log(device.adapter);`;

testUnless(fetched, "it opens where the system has a driver of its own", async () => {
  const { stdout, stderr } = await runChild(OPEN);
  assert.match(stdout, /^SwiftShader/, stderr);
});

const hidden = fetched ?? cannotHide;
testUnless(hidden, "it opens where the system has no Vulkan at all", async () => {
  const { stdout, stderr } = await runChild(OPEN, { hideVulkan: true });
  assert.match(stdout, /^SwiftShader/, stderr);
});

testUnless(fetched, "the system's driver is back once it is open", async () => {
  const code = `import { openDevice } from "${lib}device.ts";
    const own = () => openDevice({ binding: "software", embedded: false }).then((d) => d.adapter, String);
    const before = await own();
    await openDevice({ binding: "software", embedded: true });
    console.log(before === await own());`;
  const { stdout, stderr } = await runChild(code);
  assert.equal(stdout, "true\n", stderr);
});

/** The package is 70 MB: tests use it where it is in the cache, or where WEBGPU says embedded. */
async function whyNotFetched(): Promise<string | null> {
  if (process.env.WEBGPU?.includes("embedded")) return null;
  try {
    await unpackedFolder({ fetch: false });
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}
