/** Claims about the bench that measures choices of tuning once more. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { readTuningOptions } from "../bench/options.ts";
import { UsageError } from "../lib/read_options.ts";
import { runFile } from "./afpq_process.ts";
import { DENO_DIR } from "./child_process.ts";
import { present } from "./gpu_devices.ts";
import { inFolder } from "./made_checkpoints.ts";
import { testUnless } from "./test_unless.ts";

const BENCH = fileURLToPath(new URL("../bench/tuning.ts", import.meta.url));
const SMALL = ["--shapes", "40x64", "--formats", "fp4-asym,f16", "--batches", "1", "--rounds", "4"];

const why = present.some(({ name }) => name === "webgpu") ? null : "no GPU for npm webgpu";

testUnless(
  why,
  "a choice is kept, found again, and told by the default and the least",
  () =>
    inFolder(async (at) => {
      const env = { XDG_CACHE_HOME: at(), DENO_DIR };
      const rowsOf = async (args: string[]) => {
        const { code, stdout, stderr } = await runFile(BENCH, [...SMALL, ...args], { env });
        assert.equal(code, 0, stderr);
        assert.match(stdout, /Median of 4 rounds/);
        return stdout.split("\n").filter((line) => line.startsWith("|40x64|"))
          .map((line) => line.split("|").slice(1, -1));
      };
      const first = await rowsOf(["--tune", "now"]);
      const again = await rowsOf([]);
      assert.deepEqual(again.map((row) => row.slice(0, 5)), first.map((row) => row.slice(0, 5)));
      assert.deepEqual(first.map((row) => row.slice(0, 3)), [
        ["40x64", "fp4-asym", "1"],
        ["40x64", "f16", "1"],
      ]);
      for (const [, , , ways, chosen, byDefault, byLeast, least, ms] of [...first, ...again]) {
        assert.ok(Number(ways) >= 6 && Number(ms) > 0);
        if (chosen === "the default") assert.equal(byDefault, "1.00 (1.00-1.00)");
        assert.match(byLeast, /^\d+\.\d\d \(\d+\.\d\d-\d+\.\d\d\)$/);
        if (least === "the same") assert.equal(byLeast, "1.00 (1.00-1.00)");
        else assert.match(least, /^(dense_)?(matvec|matmul_strips) /);
      }
    }),
);

test("bench:tuning takes the accuracies and units that tuning chooses for", () => {
  const { accuracy, matrixUnits, fast } = readTuningOptions(["--accuracy=fast", "--matrix-units"])!;
  assert.deepEqual([accuracy, matrixUnits, fast], ["fast", true, true]);
  assert.equal(readTuningOptions(["-h"]), null);
});

test("what bench:tuning does not understand it refuses in one line", () => {
  const wrong: [string, RegExp][] = [
    ["--tune=off", /^Cannot read "off" as --tune must be one of cached, now/],
    ["--shapes=4", /^Cannot read "4" as a shape must be ROWSxCOLS/],
    ["--accuracy=best", /^Cannot read "best" as --accuracy must be one of/],
    ["--rounds=3", /must be .* from 4 to 10000/],
    ["--batch=1", /"--batch" as a flag of bench: did you mean "--batches"\?$/],
    ["twice", /"twice" as a word of bench:tuning: there are none$/],
  ];
  for (const [arg, message] of wrong) {
    assert.throws(() => readTuningOptions([arg]), (error: Error) => {
      assert.ok(error instanceof UsageError);
      assert.match(error.message, message);
      return true;
    });
  }
  const { shapes, batches, tune, fast } = readTuningOptions([])!;
  assert.deepEqual([shapes.length, batches, tune, fast], [1, [1, 8, 64], "cached", true]);
});
