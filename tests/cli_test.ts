/** Claims about lib/cli.ts by processes of its own: what is printed where, and the exit code. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { commands } from "../lib/command.ts";
import { writeSafetensors } from "../lib/safetensors_writer.ts";
import { afpq, thisRuntime } from "./afpq_process.ts";
import { type At, folderHashes, inFolder, makeModel, weights } from "./made_checkpoints.ts";

/** Bun ends a test after 5 s unless told. */
const slow = { timeout: 120_000 };

const PROJECT = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");

/** The one document of a command that went well. */
async function json(args: readonly string[], code = 0) {
  const ended = await afpq([...args, "--json"]);
  assert.deepEqual([ended.code, code === 0 ? ended.stderr : ""], [code, ""], ended.stderr);
  return JSON.parse(ended.stdout);
}

test("--version and --help print to stdout, for each command with examples", slow, async () => {
  assert.match((await afpq(["--version"])).stdout, /^afpq \d+\.\d+\.\d+\n$/);
  for (const args of [["--help"], ["-h"], ["help"]]) {
    const { code, stdout, stderr } = await afpq(args);
    assert.deepEqual([code, stderr], [0, ""]);
    for (const name of Object.keys(commands)) assert.ok(stdout.includes(`\n  ${name} `), name);
  }
  for (const [name, { help }] of Object.entries(commands)) {
    assert.match(help, /\nexamples\n {2}afpq /);
    const spelled = await Promise.all([[name, "--help"], ["help", name]].map((a) => afpq(a)));
    for (const { code, stdout } of spelled) assert.deepEqual([code, stdout], [0, `${help}\n`]);
  }
});

test(
  "the whole path: quantize, inspect, verify, dequantize, check",
  slow,
  () =>
    inFolder(async (at) => {
      await makeModel(at("m"));
      const done = await json(["quantize", at("m"), "-o", at("q"), "--format", "fp4-asym"]);
      assert.deepEqual(Object.keys(done), [
        "path",
        "tensors",
        "weights",
        "bitsPerWeight",
        "nmse",
        "seconds",
      ]);
      assert.deepEqual([done.path, done.tensors, done.weights], [at("q"), 4, 2 * 40 * (48 + 93)]);
      const inspected = await json(["inspect", at("q")]);
      assert.deepEqual([inspected.format, inspected.group], ["fp4-asym", 128]);
      assert.equal(inspected.bitsPerWeight, done.bitsPerWeight);
      assert.deepEqual(await json(["verify", at("q")]), { ok: true, files: 4, tensors: 13 });
      const back = await json(["dequantize", at("q"), "-o", at("d"), "--dtype", "f32"]);
      assert.deepEqual([back.tensors, back.weights], [4, done.weights]);
      const { device, tensors } = await json(["check", at("q"), "--binding", "cpu"]);
      assert.equal(device.binding, "cpu");
      assert.deepEqual(Object.keys(tensors[0]), ["name", "batch", "kernel", "worst"]);
      assert.equal(tensors.length, 12);
    }),
);

test("people get a table and a line, --quiet gets nothing, and no progress off a terminal", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const { code, stdout } = await afpq(["quantize", at("m"), "-o", at("q")]);
    assert.equal(code, 0);
    assert.match(
      stdout,
      /\n4 tensors, 11280 weights at [\d.]+ bits, .* written to .*q in [\d.]+ s\n$/,
    );
    const quiet = await afpq(["quantize", at("m"), "-o", at("q2"), "--quiet"]);
    assert.deepEqual([quiet.code, quiet.stdout, quiet.stderr], [0, "", ""]);
    assert.equal((await afpq(["verify", at("q2"), "-q"])).stdout, "");
  }));

/** Wrong usage: what was typed, and the nearest right spelling that must be told. */
const usages: [args: string[], says: RegExp][] = [
  [["quantise"], /^Cannot understand "quantise" as a command: did you mean "quantize"\?\n$/],
  [["verfy", "x"], /did you mean "verify"\?/],
  [["help", "divices"], /did you mean "devices"\?/],
  [["--json"], /^Cannot understand "--json" as a command/],
  [["quantize", "m", "--formt", "x"], /"--formt" as a flag of quantize: did you mean "--format"\?/],
  [["quantize", "m", "--forse"], /did you mean "--force"\?/],
  [["inspect", "m", "--jsn"], /did you mean "--json"\?/],
  [["check", "m", "--device=cpu"], /did you mean "--/],
  [["verify", "m", "-x"], /"-x" as a flag of verify: did you mean "-/],
  [["quantize", "m", "-o", "x", "--format", "nf4-asim"], /did you mean "nf4-asym"\?/],
  [["quantize", "m", "-o", "x", "--format", "NF4"], /did you mean "nf4-asym"\?/],
  [["quantize", "m", "-o", "x", "--format", "custom:1,x-asym"], /must list numbers: got "x"/],
  [["quantize", "m", "-o", "x", "--format", "custom:1-asym"], /must hold 2 to 16 numbers: got 1/],
  [["quantize", "m", "-o", "x", "--format", "e4m3-asym"], /must be 3 or 4/],
  [["quantize", "m", "-o", "x", "--group", "100"], /must be one of .*: did you mean "128"\?/],
  [["quantize", "m", "-o", "x", "--group", "rows"], /did you mean "row"\?/],
  [["dequantize", "m", "-o", "x", "--dtype", "fp16"], /did you mean "f16"\?/],
  [["check", "m", "--binding", "webgp"], /did you mean "webgpu"\?/],
  [["quantize"], /MODEL must be given: got none; see afpq quantize --help/],
  [["quantize", "m"], /--out must be given/],
  [["quantize", "m", "-o"], /--out must have a value/],
  [["quantize", "m", "-o", "--force"], /--out must have a value/],
  [["quantize", "m", "--include", "--exclude=x", "-o", "x"], /--include must have a value/],
  [["quantize", "m", "x"], /it takes MODEL: got also "x"/],
  [["verify"], /PATH must be given/],
  [["devices", "x"], /it takes no words: got also "x"/],
];

test(
  "wrong usage is exit code 2, one line with the nearest right spelling, nothing on stdout",
  slow,
  async () => {
    for (const [args, says] of usages) {
      const { code, stdout, stderr } = await afpq(args);
      assert.match(stderr, says);
      assert.deepEqual([code, stdout, stderr.split("\n").length], [2, "", 2], args.join(" "));
    }
  },
);

test("without a command the help goes to stderr, exit code 2", async () => {
  const { code, stdout, stderr } = await afpq([]);
  assert.deepEqual([code, stdout], [2, ""]);
  assert.match(stderr, /usage: afpq COMMAND/);
});

/** Refusals: what is made, what is typed, and what is said. */
const refusals: Record<string, {
  make?: (at: At) => Promise<unknown>;
  args: (at: At) => string[];
  says: RegExp;
}> = {
  "a model that is not there": {
    args: (at) => ["quantize", at("none"), "-o", at("q")],
    says: /must be a folder or a file: got nothing there/,
  },
  "a file that is no safetensors": {
    make: (at) => writeFile(at("x.safetensors"), "hello, world, this is text"),
    args: (at) => ["inspect", at("x.safetensors"), "--json"],
    says: /x\.safetensors/,
  },
  "an output that is there": {
    make: (at) => mkdir(at("q")),
    args: (at) => ["quantize", at("m"), "-o", at("q")],
    says: /must not be there yet: got a folder, --force replaces it/,
  },
  "an output inside the model": {
    args: (at) => ["quantize", at("m"), "-o", at("m", "q")],
    says: /must stand apart from .*: got a path inside it/,
  },
  "the model itself by a link": {
    make: (at) => symlink(at("m"), at("link")),
    args: (at) => ["quantize", at("m"), "-o", at("link"), "--force"],
    says: /got the model itself/,
  },
  "a missing parent": {
    args: (at) => ["quantize", at("m"), "-o", at("no", "q")],
    says: /its parent must be a folder: got no/,
  },
  "a glob that matches nothing": {
    args: (at) => ["quantize", at("m"), "-o", at("q"), "--include", "*x_proj*"],
    says: /"\*x_proj\*" must match one: got none/,
  },
  "verifying what is dense": {
    args: (at) => ["verify", at("m"), "--json"],
    says: /must hold afpq.json/,
  },
  "dequantising what is dense": {
    args: (at) => ["dequantize", at("m"), "-o", at("d")],
    says: /must hold afpq tensors: got none/,
  },
  "checking what is dense": {
    args: (at) => ["check", at("m"), "--binding", "cpu", "--json"],
    says: /must hold afpq tensors: got none/,
  },
};

for (const [what, { make, args, says }] of Object.entries(refusals)) {
  test(`${what} is refused with exit code 1, in one line, nothing on stdout`, () =>
    inFolder(async (at) => {
      await makeModel(at("m"));
      await make?.(at);
      const before = (await readdir(at())).sort();
      const { code, stdout, stderr } = await afpq(args(at));
      assert.match(stderr, says);
      assert.deepEqual([code, stdout, stderr.split("\n").length], [1, "", 2], stderr);
      assert.ok(!/\n\s+at /.test(stderr));
      assert.deepEqual((await readdir(at())).sort(), before);
    }));
}

test("--debug adds the stack, and nothing else does", () =>
  inFolder(async (at) => {
    const { code, stderr } = await afpq(["verify", at("none"), "--debug"]);
    assert.equal(code, 1);
    assert.match(stderr, /\n\s+at /);
  }));

test("verify says what changed on stderr, in a document with --json, exit code 1", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await afpq(["quantize", at("m"), "-o", at("q")]);
    await writeFile(at("q", "tokenizer.json"), '{"version": "1.1"}');
    const { code, stdout, stderr } = await afpq(["verify", at("q"), "--json"]);
    assert.deepEqual(JSON.parse(stdout), {
      ok: false,
      files: 4,
      tensors: 13,
      faults: [{ file: "tokenizer.json", reason: "changed" }],
    });
    assert.match(stderr, /^Cannot vouch for .*: got "tokenizer.json" changed\n$/);
    assert.equal(code, 1);
  }));

test("--force replaces a quantised folder, --dry-run writes nothing", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await afpq(["quantize", at("m"), "-o", at("q"), "--format", "int4-sym"]);
    const before = await folderHashes(at("q"));
    await afpq(["quantize", at("m"), "-o", at("q"), "--force", "--dry-run"]);
    assert.deepEqual(await folderHashes(at("q")), before);
    await json(["quantize", at("m"), "-o", at("q"), "--force"]);
    assert.equal((await json(["inspect", at("q")])).format, "nf4-asym");
    assert.deepEqual((await readdir(at())).sort(), ["m", "q"]);
  }));

test("under deno task a relative path is the caller's", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const run = (cwd: string, env: Record<string, string>) =>
      afpq(["quantize", "m", "-o", "q", "--force", "-q"], { cwd, env });
    assert.equal((await run(PROJECT, { INIT_CWD: at() })).code, 0);
    assert.ok((await stat(at("q"))).isDirectory());
    // An INIT_CWD left over from an outer task means nothing elsewhere.
    assert.equal((await run(at(), { INIT_CWD: "/nowhere" })).code, 0);
  }));

test("a document of some megabytes comes out whole", () =>
  inFolder(async (at) => {
    const tensors = Array.from({ length: 20_000 }, (_, i) => weights(`layer.${i}.norm`, [1]));
    await writeSafetensors(at("x.safetensors"), tensors);
    const { tensors: told } = await json(["inspect", at("x.safetensors")]);
    assert.equal(told.length, 20_000);
  }));

test("a reader that goes away is no error", () =>
  inFolder(async (at) => {
    const tensors = Array.from({ length: 20_000 }, (_, i) => weights(`layer.${i}.norm`, [1]));
    await writeSafetensors(at("x.safetensors"), tensors);
    const { code, stderr } = await afpq(["inspect", at("x.safetensors"), "--json"], {
      onStart: (child) => child.stdout!.once("data", () => child.stdout!.destroy()),
    });
    assert.deepEqual([code, stderr], [0, ""]);
  }));

const noFull = existsSync("/dev/full") ? false : "no /dev/full here";

test("output that a full disk does not take is exit code 1, in one line", {
  skip: noFull,
  ...slow,
}, async () => {
  const model = `${PROJECT}/examples/tiny-llama`;
  const written = ["generate", model, "--prompt", "a", "--tokens", "3", "--binding", "cpu"];
  const runtime = ["sh", "-c", 'exec "$@" > /dev/full', "sh", ...thisRuntime];
  for (const args of [["--help"], ["inspect", model, "--json"], written, [...written, "--json"]]) {
    const { code, stderr } = await afpq(args, { runtime });
    assert.deepEqual(
      [code, stderr],
      [1, "Cannot print as stdout must take all: got ENOSPC\n"],
      args[0],
    );
  }
});

test("names from a file cannot steer the terminal", () =>
  inFolder(async (at) => {
    await writeSafetensors(at("x.safetensors"), [weights("evil\x1b[2J\r\u202e", [2])]);
    const { stdout, stderr } = await afpq(["inspect", at("x.safetensors")]);
    // deno-lint-ignore no-control-regex
    assert.ok(!/[\x1b\r\u202e]/.test(stdout + stderr));
  }));

/** Runtimes that are here, by the command that tells their version. */
const runtimes = ([["deno", "run", "-A"], ["bun"]] as const).filter(([command]) =>
  spawnSync(command, ["--version"]).status === 0
);
const skip = runtimes.length === 2 ? false : "only one of deno and bun is on PATH";

test("Deno and Bun write the same folder", { skip, ...slow }, () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    for (const format of ["nf4-asym", "int3-asym", "e1m2-sym"]) {
      const folders = [];
      for (const runtime of runtimes) {
        const out = at(`${format}-${runtime[0]}`);
        const { code, stderr } = await afpq(["quantize", at("m"), "-o", out, "--format", format], {
          runtime,
        });
        assert.equal(code, 0, stderr);
        folders.push(await folderHashes(out));
      }
      assert.deepEqual(folders[0], folders[1]);
    }
  }));

test("the demo model goes through", slow, () =>
  inFolder(async (at) => {
    const model = `${PROJECT}/examples/tiny-llama`;
    const done = await json(["quantize", model, "-o", at("q"), "--format", "nf4-asym"]);
    assert.deepEqual([done.tensors, done.weights, done.bitsPerWeight], [42, 4718592, 4.25]);
    assert.ok(done.nmse > 0.008 && done.nmse < 0.009);
    const config = JSON.parse(await readFile(at("q", "config.json"), "utf8"));
    assert.equal(config.quantization_config.quant_method, "afpq");
    assert.equal((await json(["verify", at("q")])).ok, true);
    assert.equal(process.exitCode ?? 0, 0);
  }));
