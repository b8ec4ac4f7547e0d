/** Claims about `bench report`: one table and two plots of several machines' files, or a reason. */
import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { makeReport } from "../bench/report.ts";
import type { BenchDocument, BenchRow } from "../bench/results.ts";
import { UsageError } from "../lib/read_options.ts";
import { runFile } from "./afpq_process.ts";
import { inFolder } from "./made_checkpoints.ts";

const MAIN = fileURLToPath(new URL("../bench/main.ts", import.meta.url));

/** A document that may lack anything. */
// deno-lint-ignore no-explicit-any
type Loose = any;

const bench = (args: readonly string[]) => runFile(MAIN, args);

test("report makes one table of two machines, and two plots", () =>
  inFolder(async (at) => {
    const paths = ["a.json", "b.json"].map((name) => at(name));
    await writeFile(paths[0], JSON.stringify(document("First <GPU>", 900)));
    await writeFile(paths[1], JSON.stringify(document("Second GPU", 100)));
    const ended = await bench(["report", ...paths, "--out", at()]);
    assert.equal(ended.code, 0, ended.stderr);
    assert.match(ended.stdout, /^A: First <GPU>, fast, clock gpu, .*\nB: Second GPU, /);
    assert.match(ended.stdout, /\nA +matvec +4096x4096 llama-2-7b.q +1 +nf4-asym +matvec /);
    for (const name of ["roofline.svg", "speedup.svg"]) {
      const svg = await readFile(at(name), "utf8");
      assert.match(svg, /^<svg [^>]*width="900" height="920"/);
      assert.match(svg, /A: First &lt;GPU&gt;/);
      assert.doesNotMatch(svg, /NaN|Infinity|undefined/);
      const opened = svg.match(/<g[ >]/g)!.length;
      assert.equal(opened, svg.match(/<\/g>/g)!.length);
    }
    await writeFile(paths[1], '{"rows": []}');
    const broken = await bench(["report", ...paths]);
    assert.deepEqual([broken.code, broken.stderr], [
      2,
      `Cannot read "${paths[1]}" as a bench must be JSON of --json: got none of its fields\n`,
    ]);
  }));

const BROKEN: readonly (readonly [string, (document: Loose) => void, string])[] = [
  ["no date", (document) => delete document.date, "date that it"],
  ["a commit that is none", (document) => document.commit = 5, "commit that it"],
  ["no copy", (document) => document.copyGBs = 0, "copyGBs that it"],
  ["a number as arithmetic", ({ device }) => device.arithmetic = 5, "arithmetic that it"],
  ["no format", ({ rows }) => delete rows[2].format, "format that row 2"],
  ["no quantile", ({ rows }) => delete rows[0].p20Ms, "p20Ms that row 0"],
  ["no bytes", ({ rows }) => rows[1].gbPerS = 0, "gbPerS that row 1"],
  ["words as bytes", ({ rows }) => rows[1].gbPerS = "x", "gbPerS that row 1"],
  ["a batch below 0", ({ rows }) => rows[1].batch = -3, "batch that row 1"],
  ["a row that is none", ({ rows }) => rows[1] = null, "case that row 1"],
];

for (const [what, change, field] of BROKEN) {
  test(`report refuses a document with ${what}, and draws nothing`, () =>
    inFolder(async (at) => {
      const broken = JSON.parse(JSON.stringify(document("GPU", 900)));
      change(broken);
      const path = at("a.json");
      await writeFile(path, JSON.stringify(broken));
      const refused = (error: Error) =>
        error instanceof UsageError && error.message.endsWith(`got no ${field} could have`);
      await assert.rejects(makeReport({ files: [path], out: at("plots") }), refused);
      assert.deepEqual(await readdir(at()), ["a.json"]);
    }));
}

test("report reads a file that begins with a byte order mark", () =>
  inFolder(async (at) => {
    const path = at("a.json");
    await writeFile(path, `\uFEFF${JSON.stringify(document("GPU", 900))}`);
    assert.match(await makeReport({ files: [path], out: at() }), /^A: GPU, fast/);
  }));

function document(adapter: string, copyGBs: number): BenchDocument {
  const device = { binding: "webgpu", adapter, backend: "vulkan", software: false };
  const none = { vsSym: null, vsSymLow: null, vsSymHigh: null };
  const rows = [1, 8, 64].flatMap((batch) =>
    ["f16", "nf4-sym", "nf4-asym"].map((format, i): BenchRow => ({
      case: "matvec",
      kernel: "matvec",
      format,
      rows: 4096,
      cols: 4096,
      group: i === 0 ? null : 128,
      batch,
      rounds: 3,
      medianMs: batch / (1 + i),
      p20Ms: 0.5,
      p80Ms: 2,
      gbPerS: copyGBs / batch,
      shareOfCopy: 1 / batch,
      vsF16: i === 0 ? null : 1 + i,
      ...none,
      vsF16Low: i === 0 ? null : i,
      vsF16High: i === 0 ? null : 2 + i,
    }))
  );
  return {
    device: {
      ...device,
      fast: true,
      accuracy: "exact",
      tune: "off",
      tuned: 0,
      clock: "gpu",
      runtime: "Deno",
    },
    date: "2026-01-01T00:00:00.000Z",
    commit: "0123456789abcdef",
    copyGBs,
    launchUs: 3,
    rows,
    notRun: [],
  };
}
