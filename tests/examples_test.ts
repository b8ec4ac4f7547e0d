/** The examples that run a model, each in a process of its own; the others by tests/url_test.ts. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { thisRuntime } from "./afpq_process.ts";
import { inFolder } from "./made_checkpoints.ts";
import { noPackage } from "./made_tokenizers.ts";
import { repeated, testUnless } from "./test_unless.ts";

/** Starts an example. */
function start(
  name: string,
  args: readonly string[] = [],
  env: Record<string, string> = {},
): ChildProcess {
  const [command, ...flags] = thisRuntime;
  const path = fileURLToPath(new URL(`../examples/${name}.ts`, import.meta.url));
  return spawn(command, [...flags, path, ...args], {
    env: { ...process.env, NO_COLOR: "1", ...env },
  });
}

/** How an example ends, given what is typed. */
async function ended(name: string, args: readonly string[], typed = "") {
  const child = start(name, args);
  let [stdout, stderr] = ["", ""];
  child.stdout!.on("data", (bytes) => stdout += bytes);
  child.stderr!.on("data", (bytes) => stderr += bytes);
  child.stdin!.end(typed);
  const code = await new Promise((done) => child.on("close", done));
  return { code, stdout, stderr };
}

/** What an example prints, given what is typed. */
async function printed(name: string, typed = "", args: readonly string[] = []): Promise<string> {
  const { code, stdout, stderr } = await ended(name, args, typed);
  assert.equal(code, 0, stderr);
  return stdout;
}

for (
  const [name, args, message] of [
    ["clip", ["--windows", "0"], 'read "0" as --windows must be a whole number from 1: got "0"'],
    ["sweep", ["--full"], 'understand "--full" as there is --windows N'],
    ["demo", ["-full"], 'understand "-f" as there is --seconds N and --full'],
    ["gptq", ["many"], 'read "many" as --calibrate must be a whole number from 1: got "many"'],
    ["awq", ["--help"], 'understand "--help" as there is --calibrate N, --score N and --full'],
    ["qlora", ["2", "--windows="], 'read "" as --windows must be a whole number from 1: got ""'],
    ["smoothquant", ["1", "2", "3"], 'understand "3" as there is --smooth N, --score N and --full'],
  ] as const
) {
  test(`examples/${name}.ts ${args.join(" ")} ends at once with what it takes`, async () => {
    const { code, stdout, stderr } = await ended(name, args);
    assert.deepEqual({ code, stdout, stderr }, {
      code: 2,
      stdout: "",
      stderr: `Cannot ${message}\n`,
    });
  });
}

for (const name of ["chat", "compare", "evaluate", "generate", "server"]) {
  test(`examples/${name}.ts says in one line that there is no such model`, async () => {
    const { code, stderr } = await ended(name, ["no/such/model"]);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^Cannot (open|read) "no\/such\/model[^"]*" as it must be .*: got nothing there\n$/,
    );
  });
}

test("an example that Ctrl-C ends leaves nothing in the temporary folder", () =>
  inFolder(async (_, folder) => {
    const child = start("compare", [], { TMPDIR: folder });
    const code = new Promise((done) => child.on("close", done));
    while ((await readdir(folder)).length === 0) await pause(20);
    process.kill(child.pid!, "SIGINT");
    assert.equal(await code, 130);
    assert.deepEqual(await readdir(folder), []);
  }));

testUnless(noPackage, "examples/generate.ts quantises and writes", async () => {
  const told = await printed("generate");
  assert.match(told, /^4718592 weights at 4\.25 bits, relative error 0\.00850\n/);
  assert.match(told, /\nOnce upon a time there was [\s\S]{50,}\n\n60 tokens, \d+ a second on /);
});

testUnless(noPackage, "examples/evaluate.ts tells what 4 and 3 bits lose", async () => {
  const told = await printed("evaluate");
  assert.match(told, /\ndense +15\.8 +4\.322 +0 +0\nnf4-asym +16\.04 .*\nnf3-asym +16\.91 /);
});

testUnless(noPackage, "examples/compare.ts tells how far 3 bits predict otherwise", async () => {
  const told = await printed("compare");
  assert.match(told, /United +States +States\n/);
  assert.match(told, /\nKL divergence {2}0\.066\d \+- 0\.006\d nats a token\n/);
});

/** Bun ends a test after 5 s unless told; these take minutes of a core. */
const slow = { timeout: 1_200_000 };

/** Numbers of a row of a table, by the row's name. */
function numbersOf(told: string, name: string): number[] {
  const row = told.split("\n").find((line) => line.startsWith(`${name}  `));
  return row?.slice(name.length).trim().split(/ +/).map(Number) ?? [];
}

/** That a table says whose numbers are whose, and what two scales come to. */
function assertNotes(told: string): void {
  assert.match(told, /\npaper, 7B: what the AFPQ paper reports of LLaMA-2 7B .*, not ours\.\n/);
  assert.match(told, /\nTwo scales a group of 128 tie one scale a group of 64: they cost the same/);
  assert.match(
    told,
    /^recipe +bits\/weight +weight error +perplexity +over dense +\+- +paper, 7B\n/,
  );
}

testUnless(
  noPackage ?? repeated,
  "examples/clip.ts tells what a search saves at the same bits",
  async () => {
    const told = await printed("clip", "", ["--windows", "1"]);
    assertNotes(told);
    assert.match(told, /\nnf4-asym g128 +4\.25 +0\.0085\d* .* 5\.66\n/);
    assert.match(told, /\nlloyd4g128-asym g128, clip +4\.25 +0\.0070\d* /);
  },
  slow,
);

testUnless(
  noPackage ?? repeated,
  "examples/matched_bits.ts tells that two scales tie smaller groups, and what goes past both",
  async () => {
    const told = await printed("matched_bits", "", ["--windows", "2"]);
    assertNotes(told);
    for (const bits of [3, 4]) {
      const [two, one, found] = [
        `nf${bits}, two scales, g128`,
        `nf${bits}, one scale, g64`,
        `--bits ${bits}.25`,
      ].map((name) => numbersOf(told, name));
      assert.ok(Math.abs(two[1] / one[1] - 1) < 0.01, told);
      assert.ok(found[0] <= bits + 0.255 && found[1] < 0.65 * two[1], told);
      assert.ok(found[4] > 0, "a standard error of the difference");
    }
  },
  slow,
);

testUnless(
  noPackage ?? repeated,
  "examples/sweep.ts tells formats, groups and storages, MXFP4 and NVFP4 among them",
  async () => {
    const told = await printed("sweep", "", ["--windows", "1"]);
    assertNotes(told);
    const [mx, nv, small] = ["MXFP4", "NVFP4", "4-bit scales, g32, search"].map((name) => {
      return numbersOf(told, name);
    });
    assert.deepEqual([mx[0], nv[0]], [4.25, 4.5]);
    assert.ok(Math.abs(mx[1] / 0.013 - 1) < 0.1 && nv[1] < mx[1], told);
    assert.ok(small[1] < 0.5 * mx[1], told);
  },
  slow,
);

testUnless(
  noPackage ?? repeated,
  "examples/gptq.ts tells 3 bits with and without, and the paper's",
  async () => {
    const told = await printed("gptq", "", ["3", "2"]);
    const nats = (way: string) =>
      Number(new RegExp(`^${way} .* ([\\d.]+) +[\\d.]+$`, "m").exec(told)?.[1]);
    assert.ok(nats("gptq nf3-asym g128") < 0.6 * nats("rtn nf3-asym g128"), told);
    assert.match(
      told,
      /\nThe AFPQ paper's own numbers, not ours: .*\n[\s\S]*GPTQ NF3-asym +3\.73 /,
    );
  },
  slow,
);

testUnless(
  noPackage ?? repeated,
  "examples/awq.ts tells clip, scales and both with GPTQ, and the paper's",
  async () => {
    const told = await printed("awq", "", ["2", "2"]);
    const row = (way: string) =>
      new RegExp(`^${way} +(.*)$`, "m").exec(told)![1].split(/ +/).map(Number);
    const [, , , , rtn] = row("rtn nf3-asym g128");
    for (const way of ["weighted nf3-asym g128", "awq nf3-asym g128", "gptq.awq nf3-asym g128"]) {
      const [bits, , worst, , nats] = row(way);
      assert.ok(bits === 3.25 && worst < 0.8 && nats < 0.8 * rtn, told);
    }
    assert.equal(row("awq nf3-sym g64")[0], 3.25);
    assert.match(told, /\nThe AFPQ paper's own numbers, not ours: .*\n[\s\S]*AWQ NF3-asym +3\.87 /);
  },
  slow,
);

testUnless(
  noPackage ?? repeated,
  "examples/smoothquant.ts tells 8-bit activations, smoothed and not, with 8 and 4 bits",
  async () => {
    const told = await printed("smoothquant", "", ["1", "1"]);
    const nats = (way: string) =>
      Number(new RegExp(`^${way} +[\\d.]+ +[\\d.]+ +(-?[\\d.e-]+)`, "m").exec(told)?.[1]);
    assert.equal(nats("dense"), 0);
    for (const way of ["W8A8", "W8A8 smoothed"]) assert.ok(Math.abs(nats(way)) < 0.01, told);
    for (const way of ["W4 nf4-asym", "W4A8 nf4-asym", "W4A8 nf4-asym smoothed"]) {
      assert.ok(Math.abs(nats(way)) < 0.08, told);
    }
    assert.match(told, /\nW8A8 +8\.104 /);
    assert.match(told, /no numbers with 8-bit activations/);
  },
  slow,
);

testUnless(
  noPackage ?? repeated,
  "examples/qlora.ts makes the loss fall and leaves the base",
  async () => {
    const told = await printed("qlora", "", ["16", "4"]);
    assert.equal([...told.matchAll(/^step \d+: loss [\d.]+$/gm)].length, 4);
    const trained = (way: string) =>
      Number(new RegExp(`^${way} +[\\d.]+ +[\\d.]+ +([\\d.]+) `, "m").exec(told)?.[1]);
    assert.ok(trained("and adapters") < 0.98 * trained("nf3-asym g64"), told);
    assert.match(told, /\nnf3-asym g64 +3\.\d+ /);
    assert.match(told, /\nthe base is bit for bit what it was\n/);
    assert.match(told, /\nadapters: adapter_config\.json, adapter_model\.safetensors\n/);
  },
  slow,
);

testUnless(noPackage, "examples/chat.ts answers each line until there is none", async () => {
  const told = await printed("chat", "Once upon a time\nAnd then\n");
  assert.match(told, /^> [\s\S]{50,}\n> [\s\S]{50,}\n> \n$/);
});

testUnless(noPackage, "examples/server.ts completes, whole and streamed, and refuses", async () => {
  const child = start("server", [
    fileURLToPath(new URL("../examples/tiny-llama", import.meta.url)),
    "0",
  ]);
  try {
    const origin = await new Promise<string>((resolve, reject) => {
      let told = "";
      child.stdout!.on("data", (bytes) => {
        const found = /listening on (\S+)\n/.exec(told += bytes);
        if (found) resolve(found[1]);
      });
      child.on("close", () => reject(new Error("the server ended")));
    });
    const post = (body: unknown) =>
      fetch(`${origin}/v1/completions`, { method: "POST", body: JSON.stringify(body) });
    const asked = { prompt: "Once upon a time", max_tokens: 5, temperature: 0 };
    const whole = await (await post(asked)).json();
    const [{ text, finish_reason }] = whole.choices;
    assert.deepEqual([text, finish_reason], [" of peace. The United", "length"]);
    const streamed = await (await post({ ...asked, stream: true })).text();
    const events = streamed.trim().split("\n\n").map((event) => event.replace(/^data: /, ""));
    assert.equal(events.pop(), "[DONE]");
    const pieces = events.map((event) => JSON.parse(event).choices[0]);
    assert.equal(pieces.map(({ text }) => text).join(""), text);
    assert.equal(pieces.at(-1).finish_reason, "length");
    const long = await post({ ...asked, prompt: "word ".repeat(300) });
    assert.deepEqual([long.status, "error" in await long.json()], [400, true]);
    for (const body of ["{", "7", "{}", '{"prompt": "a", "max_tokens": 0}']) {
      const bad = await fetch(`${origin}/v1/completions`, { method: "POST", body });
      assert.equal(bad.status, 400);
      assert.match((await bad.json()).error.message, /must be/);
    }
    const elsewhere = await fetch(`${origin}/`);
    await elsewhere.body?.cancel();
    assert.equal(elsewhere.status, 404);
  } finally {
    child.kill();
  }
});
