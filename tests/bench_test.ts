/**
 * Claims about the bench: a run at one small shape, its document, its report, and what it refuses.
 *
 * @module
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { freeBuffers, makeBuffers } from "../bench/buffers.ts";
import { natural, packedMatrix } from "../bench/made_matrices.ts";
import { UsageError } from "../lib/read_options.ts";
import { oneSided, readStored, storedOf } from "../bench/stored.ts";
import { readBenchOptions } from "../bench/options.ts";
import { choicesOf, planOf } from "../bench/plan.ts";
import { type BenchDocument, type BenchRow, rowsOf } from "../bench/results.ts";
import { makeVariant } from "../bench/variants.ts";
import { linearsOf, models, shapes, tokenOrder, weightsOf } from "../bench/shapes.ts";
import { rowCodes } from "../lib/quantizer.ts";
import { runFile } from "./afpq_process.ts";
import { gpuTest, targets } from "./gpu_devices.ts";
import { inFolder } from "./made_checkpoints.ts";
import { testUnless } from "./test_unless.ts";

const MAIN = fileURLToPath(new URL("../bench/main.ts", import.meta.url));
const KEYS = "case kernel format rows cols group batch rounds medianMs p20Ms p80Ms gbPerS " +
  "shareOfCopy vsF16 vsSym vsSymLow vsSymHigh vsF16Low vsF16High";
const RIVALS = { constant_table: 2, naive_two_scale: 1 };

/** The bench in a process of its own. */
function bench(args: readonly string[], onLine?: (line: string, stop: () => void) => void) {
  return runFile(MAIN, args, {
    onStart(child) {
      const stop = () => process.kill(child.pid!, "SIGINT"); // child.kill() hides the code
      child.stderr!.on("data", (bytes) => onLine?.(String(bytes), stop));
    },
  });
}

for (const { name, device, reason } of targets) {
  const binding = name === "embedded" ? "software" : name;
  testUnless(
    device ? null : reason,
    `a tiny bench says all it should, on ${name}`,
    () =>
      inFolder(async (at) => {
        const json = at("a.json");
        const flags = `--only matvec --shapes 64x96 --batches 1 --formats nf4 --rounds 3`.split(
          " ",
        );
        const ended = await bench([...flags, "--binding", binding, "--json", json]);
        assert.equal(ended.code, 0, ended.stderr);
        const document: BenchDocument = JSON.parse(await readFile(json, "utf8"));
        assert.deepEqual(
          Object.keys(document).join(" "),
          "device date commit copyGBs launchUs rows notRun",
        );
        assert.deepEqual(document.notRun, []);
        assert.ok(document.copyGBs > 0 && document.launchUs > 0);
        for (const row of document.rows) expectSane(row, document);
        const count = (kernel: string) =>
          document.rows.filter((row) => row.kernel === kernel).length;
        assert.deepEqual(
          [document.rows.length, count("constant_table"), count("naive_two_scale")],
          [
            3 + RIVALS.constant_table + RIVALS.naive_two_scale,
            RIVALS.constant_table,
            RIVALS.naive_two_scale,
          ],
        );
        assert.match(ended.stdout, /nf4-asym +naive_two_scale/);
        assert.match(
          ended.stdout,
          /\nnf4-asym 64x96: [\d.]+ \([\d.]+-[\d.]+\) x as fast as constant_table\n/,
        );
        if (document.device.software) assert.match(ended.stdout, /these timings are no GPU's\n/);
      }),
  );
}

function expectSane(row: BenchRow, { copyGBs }: BenchDocument): void {
  assert.equal(Object.keys(row).join(" "), KEYS);
  assert.deepEqual([row.case, row.rows, row.cols, row.batch, row.rounds], ["matvec", 64, 96, 1, 3]);
  assert.ok(0 < row.p20Ms && row.p20Ms <= row.medianMs && row.medianMs <= row.p80Ms);
  // a group a row has two scales, or one and its padding
  const weights = row.format === "f16" ? 64 * 96 * 2 : 64 * (96 / 2 + 4);
  const bytes = weights + 4 * (64 + 96);
  assert.ok(Math.abs(row.gbPerS! / (bytes / 1e6 / row.medianMs) - 1) < 1e-9);
  assert.ok(Math.abs(row.shareOfCopy! * copyGBs / row.gbPerS! - 1) < 1e-9);
  assert.equal(row.vsF16 === null, row.format === "f16");
  const alone = !row.format.endsWith("-asym") || row.kernel === "naive_two_scale";
  assert.equal(row.vsSym === null, alone);
  if (row.vsF16 !== null) assert.ok(row.vsF16Low! <= row.vsF16 && row.vsF16 <= row.vsF16High!);
  if (row.vsSym !== null) assert.ok(row.vsSymLow! <= row.vsSym && row.vsSym <= row.vsSymHigh!);
}

const gpu = targets.some(({ device }) => device) ? null : "no GPU here";

testUnless(
  gpu,
  "small batches and matmul run, and copy and empty alone",
  () =>
    inFolder(async (at) => {
      const json = at("a.json");
      const run = async (flags: string) => {
        const ended = await bench([...flags.split(" "), "--rounds", "3", "--json", json]);
        assert.equal(ended.code, 0, ended.stderr);
        return (JSON.parse(await readFile(json, "utf8")) as BenchDocument).rows;
      };
      const products = await run("--shapes 64x96 --batches 3,33 --formats fp3-asym,f32 --group 32");
      assert.deepEqual(
        products.map((row) => `${row.case} ${row.format} ${row.batch} ${row.group}`),
        [
          "copy u32 null null",
          "empty u32 null null",
          "small-batch f16 3 null",
          "small-batch fp3-asym 3 32",
          "small-batch f32 3 null",
          "matmul f16 33 null",
          "matmul fp3-asym 33 32",
          "matmul f32 33 null",
        ],
      );
      const copy = await run("--only copy");
      assert.deepEqual(copy.map(({ kernel, shareOfCopy }) => [kernel, shareOfCopy]), [["copy", 1]]);
    }),
);

testUnless(
  gpu,
  "what cannot be run is told once, with its reason, and leaves the rest",
  () =>
    inFolder(async (at) => {
      const json = at("a.json");
      const flags = "--only matmul --shapes 64x64,12000000x8 --batches 512 --formats f16 --rounds 3"
        .split(" ");
      const { code, stdout } = await bench([...flags, "--json", json]);
      assert.equal(code, 0);
      const { rows, notRun }: BenchDocument = JSON.parse(await readFile(json, "utf8"));
      assert.deepEqual(rows.map(({ rows }) => rows), [64]);
      assert.deepEqual(notRun.map(({ shape }) => shape), ["12000000x8"]);
      assert.match(notRun[0].reason, /^own f16: Cannot /);
      assert.match(stdout, /\nnot run: matmul 12000000x8, batch 512: own f16: Cannot /);
    }),
);

testUnless(gpu, "Ctrl-C prints what was measured until then", async () => {
  const ended = await bench(
    "--shapes 64x96 --batches 1,2 --formats nf4 --rounds 10000".split(" "),
    (line, stop) => /by its own clock|by the wall clock/.test(line) && setTimeout(stop, 500),
  );
  assert.equal(ended.code, 130, ended.stderr);
  assert.match(ended.stdout, /^.*\ntune cached: \d+ classes of shape tuned\n\ncase /);
  assert.match(ended.stdout, /not run: matvec 64x96, batch 2: stopped\n/);
});

test("the plan has the most important first, and rivals at batch 1 alone", () => {
  const options = readBenchOptions([])!;
  const plan = planOf(options, false);
  const told = plan.map(({ case: name, shapes: [{ rows, cols }], batch }) => {
    return `${name} ${rows}x${cols} ${batch}`;
  });
  assert.deepEqual(told.slice(0, 8), [
    "matvec 4096x4096 1",
    "small-batch 4096x4096 8",
    "matmul 4096x4096 64",
    "matmul 4096x4096 512",
    "decode 12288x4096 1",
    "matvec 11008x4096 1",
    "matvec 4096x11008 1",
    "matvec 28672x8192 1",
  ]);
  const later = plan.slice(8).map(({ batch }) => batch);
  assert.deepEqual(later, [8, 8, 8, 64, 64, 64, 512, 512, 512]);
  const kernels = choicesOf(options, plan[0]).map(({ kernel, format }) => `${kernel} ${format}`);
  assert.ok(kernels.includes("own f16") && kernels.includes("naive_two_scale fp4-asym"));
  assert.ok(!kernels.some((name) => /(table|scale) (int4|nf3)|naive.*-sym/.test(name)));
  assert.ok(choicesOf(options, plan[1]).every(({ kernel }) => kernel === "own"));
  const all = planOf(readBenchOptions(["--all"])!, false);
  const sizes = new Set(shapes.map(({ rows, cols }) => `${rows}x${cols}`)).size;
  assert.equal(all.length, 4 * sizes + models.length);
});

test("a decode has the weights of all projections of a model, and of its head", () => {
  const [small, , large] = models.map((model) => weightsOf(linearsOf(model), tokenOrder(model)));
  assert.equal(small, 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008) + 32000 * 4096);
  const layer = 2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * 8192 * 28672;
  assert.equal(large, 80 * layer + 32000 * 8192);
});

gpuTest(
  "a decode runs what a token meets, in turn from one copy to the next",
  async (_, device) => {
    const shapes = [{ name: "", rows: 64, cols: 96 }, { name: "head", rows: 96, cols: 64 }];
    const about = { case: "decode", name: "small", batch: 1, group: 32, tuning: false } as const;
    const work = { ...about, shapes, order: [0, 0, 1] };
    const buffers = await makeBuffers(device, work);
    const choice = { kernel: "own", format: "nf4-sym" } as const;
    const weightBytes = 2 * 64 * 96 / 2; // and some scales
    const variant = await makeVariant(device, work, choice, buffers, 3 * weightBytes);
    const { runs: [[first, second, head], [next, after, last]] } = variant;
    assert.equal(variant.runs.length, 3);
    assert.ok(first !== second && second === next && first !== after && next !== after);
    assert.ok(head !== last && !variant.runs[0].includes(last));
    const [row] = rowsOf(work, [{ variant, times: [1, 1, 1] }], 1);
    assert.deepEqual([row.rows, row.cols], [3 * 64, 96]);
    variant.free();
    freeBuffers(buffers);
  },
);

test("a format may bring its storage of scales and its groups", () => {
  const { scaleFormat, group } = storedOf("nf4-asym/e1m3-row/32", 128);
  assert.deepEqual([scaleFormat.name, group], ["e1m3-row", 32]);
  assert.deepEqual([storedOf("fp4-sym", "row").group, readStored("fp4-asym/f16/16")], [
    "row",
    "fp4-asym/f16/16",
  ]);
  assert.equal(oneSided("nf4-asym/e1m3-row/32"), "nf4-sym/e1m3-row/32");
  assert.equal(oneSided("nf4-sym"), undefined);
  for (
    const word of ["nf4-asym/e9m9-row", "nf4-asym/f16/48", "nf4-asym/f16/32/1", "nf4/e1m3-row"]
  ) {
    assert.throws(() => readStored(word), UsageError, word);
  }
});

test("formats without a side are both, with storage and all; numbers of custom levels are one word", () => {
  const formats = (list: string) => readBenchOptions(["--formats", list])!.formats;
  assert.deepEqual(formats("fp4/e1m3-row/32,f16"), [
    "fp4-sym/e1m3-row/32",
    "fp4-asym/e1m3-row/32",
    "f16",
  ]);
  assert.deepEqual(formats("custom:-1,0,1-asym,nf4-sym,custom:0,2-sym/e1m3-row"), [
    "custom:-1,0,1-asym",
    "nf4-sym",
    "custom:0,2-sym/e1m3-row",
  ]);
});

test("natural() is the codes in the order of columns", () => {
  for (const name of ["fp4-asym", "nf4-sym"]) {
    const q = packedMatrix({ rows: 3, cols: 64 }, storedOf(name, 32));
    const words = natural(q);
    for (const row of [0, 1, 2]) {
      const codes = [...rowCodes(q, row)];
      const got = codes.map((_, c) => words[(row * 64 + c) >> 3] >>> 4 * (c % 8) & 15);
      assert.deepEqual(got, codes);
    }
  }
});

const WRONG: readonly (readonly [string, RegExp])[] = [
  ["--shape 4x4", /"--shape" as a flag of bench: did you mean "--shapes"\?$/],
  ["--shapes 4096", /"4096" as a shape must be ROWSxCOLS/],
  ["--shapes 8x9", /"8x9" as a shape must be ROWSxCOLS, columns a multiple of 8/],
  ["--only matvek", /"matvek" as --only must be one of .* did you mean "matvec"\?$/],
  ["--formats fp5", /"fp5" as a format must be one of/],
  ["--batches 0", /"0" as a batch must be a whole number from 1 to 8192/],
  ["--rounds 2", /"2" as --rounds must be a whole number from 3/],
  ["--only matmul --batches 1", /--only matmul as batches and shapes must leave some/],
  ["--fast --strict", /must be --fast or --strict: got both$/],
  ["--strict --matrix-units", /--matrix-units must have .*: got --strict$/],
  ["--json /no/where/a.json", /Cannot write "\/no\/where\/a.json" as --json must name a file/],
  ["--json /", /Cannot write "\/" as --json must name a file .*: got a folder$/],
  ["--shapes 8x99999999", /"8x99999999" as a shape must be/],
  ["--json", /--json must have a value: got none$/],
  ["--group 48", /"48" as --group must be one of/],
  ["repor", /"repor" as a command: did you mean "report"\?$/],
];

for (const [args, message] of WRONG) {
  test(`bench ${args} is refused`, () => {
    assert.throws(() => planOf(readBenchOptions(args.split(" "))!, false), { message });
  });
}

test("wrong usage is one line and exit code 2, and no GPU is 1", async () => {
  const wrong = await bench(["--only", "nothing"]);
  assert.deepEqual([wrong.code, wrong.stdout, wrong.stderr.split("\n").length], [2, "", 2]);
  const missing = await bench(["report", "/nowhere.json"]);
  assert.equal(missing.code, 2);
  assert.match(
    missing.stderr,
    /^Cannot read "\/nowhere.json" as a bench must be JSON of --json: .*\n$/,
  );
  const none = await bench(["--binding", "cpu", "--only", "copy"]);
  assert.deepEqual([none.code, none.stderr], [
    1,
    "Cannot bench as there must be a GPU: got TypeScript alone\n",
  ]);
});
