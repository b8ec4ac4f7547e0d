import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { type FileHandle, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { dtypes, tensorBytes } from "../lib/dtype.ts";
import { openSafetensors } from "../lib/safetensors.ts";
import { type TensorSource, writeSafetensors } from "../lib/safetensors_writer.ts";
import { inFolder } from "./made_checkpoints.ts";

const HERE = dirname(fileURLToPath(import.meta.url));
const FIXTURES = join(HERE, "../../shared/fixtures");
const noFixtures = existsSync(FIXTURES) ? false : "../shared/fixtures is not there";
const WRITER = pathToFileURL(join(HERE, "../lib/safetensors_writer.ts")).href;

/** A tensor of seeded bytes. */
function source(name: string, dtype: TensorSource["dtype"], shape: number[]): TensorSource {
  let seed = name.length + shape.length;
  const next = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) >>> 24;
  const bytes = Uint8Array.from({ length: tensorBytes(dtype, shape) }, next);
  return { name, dtype, shape, bytes: () => bytes };
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

const EVERY_DTYPE = dtypes.map((dtype, i) => source(`${dtype} é`, dtype, [i % 3, 8]));

test("a file reads back as it was written, in every dtype", () =>
  inFolder(async (_, folder) => {
    const path = join(folder, "x.safetensors");
    const metadata = { format: "pt", "π": "\n" };
    const written = await writeSafetensors(path, EVERY_DTYPE, { metadata });
    const file = await openSafetensors(path);
    assert.deepEqual({ ...file.metadata }, metadata);
    assert.equal(file.dataOffset % 8, 0);
    assert.equal(file.bytes, written.bytes);
    assert.equal(written.sha256, sha256(await readFile(path)));
    for (const [i, { name, dtype, shape, bytes }] of EVERY_DTYPE.entries()) {
      const tensor = file.tensors.find((tensor) => tensor.name === name)!;
      assert.deepEqual([tensor.dtype, tensor.shape], [dtype, shape]);
      assert.deepEqual(await tensor.bytes(), await bytes!());
      assert.deepEqual(written.tensors[i], { name, sha256: sha256(await bytes!()) });
    }
  }));

test("the bytes of a file depend on its tensors only, not on the order they are given in", () =>
  inFolder(async (_, folder) => {
    const paths = ["a", "b"].map((name) => join(folder, name));
    await writeSafetensors(paths[0], EVERY_DTYPE);
    await writeSafetensors(paths[1], [...EVERY_DTYPE].reverse());
    assert.deepEqual(await readFile(paths[0]), await readFile(paths[1]));
  }));

test("both runtimes write these bytes", () =>
  inFolder(async (_, folder) => {
    const { sha256 } = await writeSafetensors(join(folder, "x"), EVERY_DTYPE, {
      metadata: { b: "2", a: "\u0001" },
    });
    assert.equal(sha256, "c13cc9f37d5ef737dc228ab019a8d2b07a34f1394797c6cefecf63ddc28053a9");
  }));

test("sources are asked in the order given, one after the other", () =>
  inFolder(async (_, folder) => {
    const asked: string[] = [];
    const tensors = ["u8", "u64", "f16"].map((name) => {
      const dtype = name.toUpperCase() as "U8" | "U64" | "F16";
      const one = source(name, dtype, [5]);
      return { ...one, bytes: () => (asked.push(name), one.bytes!()) };
    });
    const down: string[] = [];
    await writeSafetensors(join(folder, "x"), tensors, { onTensor: ({ name }) => down.push(name) });
    assert.deepEqual(asked, ["u8", "u64", "f16"]);
    assert.deepEqual(down, asked);
  }));

test("a file without tensors and one with empty tensors can be written", () =>
  inFolder(async (_, folder) => {
    const path = join(folder, "x.safetensors");
    assert.equal((await writeSafetensors(path, [])).bytes, 16);
    await writeSafetensors(path, [source("a", "F32", [0, 3]), source("b", "U8", [])]);
    assert.deepEqual((await openSafetensors(path)).tensors.map(({ end }) => end), [0, 1]);
  }));

test("tensors of one file stream into another", () =>
  inFolder(async (_, folder) => {
    const [first, second] = ["a", "b"].map((name) => join(folder, name));
    await writeSafetensors(first, [source("w", "F32", [3000, 1000])], { metadata: { a: "b" } });
    const { tensors, metadata } = await openSafetensors(first);
    await writeSafetensors(second, tensors, { metadata: metadata! });
    assert.ok((await readFile(first)).equals(await readFile(second)));
  }));

test("metadata may be known only when the data is down", () =>
  inFolder(async (_, folder) => {
    const path = join(folder, "x.safetensors");
    const facts: Record<string, string> = {};
    const reserve = '{"w":"0123456789"}'.length;
    const onTensor = ({ name }: { name: string }) => facts[name] = "0123456789";
    await writeSafetensors(path, [source("w", "U8", [9])], {
      metadata: () => facts,
      reserve,
      onTensor,
    });
    assert.deepEqual({ ...(await openSafetensors(path)).metadata }, facts);
    const tooLong = { metadata: () => ({ w: "x".repeat(100) }), reserve };
    await assert.rejects(writeSafetensors(path, [], tooLong), /its header must fit in \d+ bytes/);
  }));

for (const [name, given] of [["short", 15], ["long", 17], ["empty", 0]] as const) {
  test(`a source that gives ${given} bytes for 16 is refused and leaves nothing`, () =>
    inFolder(async (_, folder) => {
      const tensor = {
        name,
        dtype: "F32",
        shape: [2, 2],
        bytes: () => new Uint8Array(given),
      } as const;
      await assert.rejects(
        writeSafetensors(join(folder, "x"), [tensor]),
        new RegExp(`tensor "${name}" \\[2, 2\\] of F32 as its data must be 16 bytes: got ${given}`),
      );
      assert.deepEqual(await readdir(folder), []);
    }));
}

test("an old file stays as it is until the new one is whole", () =>
  inFolder(async (_, folder) => {
    const path = join(folder, "x");
    await writeFile(path, "old");
    const failing: TensorSource = {
      name: "w",
      dtype: "U8",
      shape: [4],
      bytes: () => Promise.reject(new Error("no more")),
    };
    await assert.rejects(writeSafetensors(path, [failing]), /no more/);
    assert.equal(await readFile(path, "utf8"), "old");
    assert.deepEqual(await readdir(folder), ["x"]);
  }));

test("an abort between two pieces leaves nothing", () =>
  inFolder(async (_, folder) => {
    const controller = new AbortController();
    const tensor: TensorSource = {
      name: "w",
      dtype: "U8",
      shape: [4],
      async *chunks() {
        yield Uint8Array.of(1, 2);
        await Promise.resolve();
        controller.abort(new Error("Ctrl-C"));
        yield Uint8Array.of(3, 4);
      },
    };
    const options = { signal: controller.signal };
    await assert.rejects(writeSafetensors(join(folder, "x"), [tensor], options), /Ctrl-C/);
    assert.deepEqual(await readdir(folder), []);
  }));

/** Bytes, offset, length and position. */
type Write = [Uint8Array, number, number, number];

/** Opens a file whose writes, and flushes, come back as `write` and `sync` say. */
function faulty(write: (file: FileHandle, ...w: Write) => unknown, sync?: () => Promise<void>) {
  return async (path: string, flags: "wx+") => {
    const handle = await open(path, flags);
    return new Proxy(handle, {
      get(target, key) {
        if (key === "write") return (...w: Write) => Promise.resolve(write(target, ...w));
        if (key === "sync" && sync) return sync;
        const value = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  };
}

test("writes that come back short are repeated until all bytes are down", () =>
  inFolder(async (_, folder) => {
    const [whole, slow] = ["a", "b"].map((name) => join(folder, name));
    await writeSafetensors(whole, EVERY_DTYPE);
    const short = faulty((handle, b, o, l, at) => handle.write(b, o, Math.min(l, 3), at));
    await writeSafetensors(slow, EVERY_DTYPE, { open: short });
    assert.deepEqual(await readFile(whole), await readFile(slow));
  }));

test("a disk that takes no more is refused with the bytes it should have taken", () =>
  inFolder(async (_, folder) => {
    const full = faulty((handle, b, o, l, at) =>
      at + l > 150 ? { bytesWritten: 0 } : handle.write(b, o, l, at)
    );
    await assert.rejects(
      writeSafetensors(join(folder, "x"), [source("w", "U8", [100])], { open: full }),
      /the disk must take 100 bytes more at byte 72: got none written/,
    );
    assert.deepEqual(await readdir(folder), []);
  }));

test("a disk that says ENOSPC is refused with the bytes it should have taken", () =>
  inFolder(async (_, folder) => {
    const error = Object.assign(new Error("no space"), { code: "ENOSPC" });
    const open = faulty(() => Promise.reject(error));
    const written = writeSafetensors(join(folder, "x"), [source("w", "U8", [100])], { open });
    const refusal =
      /Cannot write ".*x" as the disk must take 100 bytes more at byte 72: got ENOSPC/;
    await assert.rejects(written, refusal);
    assert.deepEqual(await readdir(folder), []);
  }));

test("a disk that cannot flush is refused by the file's name, and nothing is left", () =>
  inFolder(async (_, folder) => {
    const error = Object.assign(new Error("os error 5"), { code: "EIO" }); // no syscall, in Deno
    const open = faulty((file, ...w) => file.write(...w), () => Promise.reject(error));
    const written = writeSafetensors(join(folder, "x"), [source("w", "U8", [9])], { open });
    await assert.rejects(written, /Cannot write ".*x" as the system must let it: got EIO$/);
    assert.deepEqual(await readdir(folder), []);
  }));

test("a folder that is not there, and a folder at the name, are refused in one line", () =>
  inFolder(async (_, folder) => {
    await assert.rejects(
      writeSafetensors(join(folder, "no/x"), []),
      /as the system must let it: got ENOENT/,
    );
    await assert.rejects(
      writeSafetensors(folder, []),
      /as the system must let it: got E(ISDIR|NOTEMPTY|EXIST|BUSY)/,
    );
  }));

/** A program that writes 64 MiB to argv's path, slowly. */
const PROGRAM = `
  import { writeSafetensors } from ${JSON.stringify(WRITER)};
  async function* chunks() {
    for (let i = 0; i < 64; i++) {
      yield new Uint8Array(2 ** 20).fill(i);
      console.log(i);
      await new Promise((done) => setTimeout(done, 5));
    }
  }
  const tensor = { name: "w", dtype: "U8", shape: [64, 2 ** 20], chunks };
  try {
    await writeSafetensors(process.argv[2], [tensor]);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
`;

/** Arguments that run a file on the runtime of this test. */
function runtimeArguments(file: string, ...rest: string[]): string[] {
  return "Deno" in globalThis ? ["run", "-A", "--no-config", file, ...rest] : [file, ...rest];
}

test("a process killed while it writes leaves no file of the name", () =>
  inFolder(async (_, folder) => {
    const program = join(folder, "program.mjs");
    await writeFile(program, `import process from "node:process";${PROGRAM}`);
    for (const lines of [1, 20, 40]) {
      const child = spawn(
        process.execPath,
        runtimeArguments(program, join(folder, "x.safetensors")),
      );
      const ended = once(child, "exit");
      let seen = 0;
      for await (const piece of child.stdout) {
        seen += String(piece).split("\n").length - 1;
        if (seen >= lines) child.kill("SIGKILL");
      }
      await ended;
      const left = await readdir(folder);
      assert.ok(!left.includes("x.safetensors"), left.join(" "));
      assert.ok(left.some((name) => name.startsWith(".x.safetensors.partial-")), left.join(" "));
      for (const name of left.filter((name) => name.includes(".partial-"))) {
        await assert.rejects(openSafetensors(join(folder, name)), SyntaxError);
        await rm(join(folder, name));
      }
    }
  }));

test("a file larger than the system allows is refused and removed", () =>
  inFolder(async (_, folder) => {
    const program = join(folder, "program.mjs");
    await writeFile(program, `import process from "node:process";${PROGRAM}`);
    const command = [process.execPath, ...runtimeArguments(program, join(folder, "x.safetensors"))];
    const quoted = command.map((word) => `'${word}'`).join(" ");
    const { status, stderr } = spawnSync("bash", ["-c", `trap '' XFSZ; ulimit -f 5000; ${quoted}`]);
    assert.equal(status, 1);
    assert.match(
      String(stderr),
      /the disk must take \d+ bytes more at byte \d+: got (EFBIG|File too large|none written)/,
    );
    assert.deepEqual(await readdir(folder), ["program.mjs"]);
  }));

/** The npm package, which Deno fetches itself and Bun finds once `bun install` has run. */
async function loadIndependentReader(): Promise<
  { SafeTensor: new (file: Uint8Array) => { getTensor(name: string): Uint8Array } } | null
> {
  const isDeno = "Deno" in globalThis;
  const name = isDeno ? "npm:safetensors@0.0.1" : "safetensors";
  const module = isDeno ? await import(name) : await import(name).catch(() => null);
  return module?.SafeTensor ? module : module?.default ?? null;
}

const independent = await loadIndependentReader();
const noReader = noFixtures || (independent ? false : "the package safetensors is not installed");

test(
  "the npm package safetensors reads our files to the same bytes",
  { skip: noReader },
  () =>
    inFolder(async (_, folder) => {
      const { SafeTensor } = independent!;
      const path = join(folder, "x.safetensors");
      const names = (await readdir(FIXTURES, { recursive: true })).filter((n) =>
        /\.safetensors$/.test(n)
      );
      for (const name of names) {
        const { tensors } = await openSafetensors(join(FIXTURES, name));
        await writeSafetensors(path, tensors); // without __metadata__, at which the package throws
        const read = new SafeTensor(new Uint8Array(await readFile(path)));
        for (const tensor of tensors) {
          assert.deepEqual(new Uint8Array(read.getTensor(tensor.name)), await tensor.bytes());
        }
      }
      await writeSafetensors(path, EVERY_DTYPE);
      const read = new SafeTensor(new Uint8Array(await readFile(path)));
      for (const { name, bytes } of EVERY_DTYPE) {
        assert.deepEqual(new Uint8Array(read.getTensor(name)), await bytes!());
      }
    }),
);
