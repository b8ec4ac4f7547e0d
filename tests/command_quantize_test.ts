/** Claims about lib/command_quantize.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { writeFile } from "node:fs/promises";
import { quantizeCommand, readCalibration } from "../lib/command_quantize.ts";
import type { Args } from "../lib/parse_args.ts";
import { context, inFolder, makeModel } from "./made_checkpoints.ts";
import { noPackage } from "./made_tokenizers.ts";
import { writeTalkingModel } from "./talking_model.ts";
import { testUnless } from "./test_unless.ts";

test("tensors that differ in their layer only are one row", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const { json, rows, lines } = await quantizeCommand({ model: at("m"), out: at("q") }, context);
    assert.deepEqual(rows.map(({ tensor, shape, count }) => [tensor, shape, count]).sort(), [
      ["model.layers.N.mlp.down_proj.weight", "[40, 93]", 2],
      ["model.layers.N.self_attn.q_proj.weight", "[48, 40]", 2],
    ]);
    assert.ok(rows.every((row) => Number(row.NMSE) > 0 && Number(row["largest error"]) > 0));
    assert.equal((json as { tensors: number }).tensors, 4);
    assert.match(lines[0], /^4 tensors, 11280 weights at/);
  }));

test("a dry run tells sizes and no errors", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const options = { model: at("m"), out: at("q"), dryRun: true };
    const { json, rows, lines } = await quantizeCommand(options, context);
    assert.equal((json as { nmse: null }).nmse, null);
    assert.ok(rows.every((row) => !("NMSE" in row)));
    assert.match(lines[0], /would be written to .*q$/);
  }));

const parsed = (flags: Record<string, string | boolean>): Args => ({ _: [], ...flags });

test("--method names a method, and the others of its flags go with it", () => {
  assert.equal(readCalibration(parsed({})), null);
  assert.equal(readCalibration(parsed({ method: "rtn" })), null);
  assert.deepEqual(
    readCalibration(parsed({ method: "gptq", calibration: "/t", windows: "3", "act-order": true })),
    {
      method: "gptq",
      path: "/t",
      actOrder: true,
      windows: 3,
      context: undefined,
      binding: undefined,
    },
  );
  const refused: [Record<string, string | boolean>, RegExp][] = [
    [{ method: "gptq" }, /with --method gptq as --calibration must name a text: got none$/],
    [{ method: "gtpq", calibration: "t" }, /did you mean "gptq"\?$/],
    [{ calibration: "t" }, /with --calibration as --method must be one of weighted, .*: got none$/],
    [{ method: "rtn", windows: "3" }, /with --windows as --method must be one of .*: got rtn$/],
    [{ method: "awq", calibration: "t", "act-order": true }, /must be gptq or gptq\+awq: got awq$/],
    [{ method: "awq", calibration: "t", windows: "0" }, /a whole number of at least 1: got "0"$/],
  ];
  for (const [flags, message] of refused) {
    assert.throws(() => readCalibration(parsed(flags)), { message });
  }
});

testUnless(
  noPackage,
  "a method tells what outputs lose, beside what plain rounding would",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      await writeFile(at("t"), "abcde".repeat(100));
      const calibration = { method: "gptq" as const, path: at("t"), windows: 4, context: 16 };
      const options = { model: at("m"), out: at("q"), calibration };
      const { json, lines } = await quantizeCommand(options, context);
      const { method, tokens, outputErrorShare } = json as Record<string, number>;
      assert.deepEqual([method, tokens], ["gptq", 64]);
      assert.ok(outputErrorShare < 1);
      assert.match(
        lines[1],
        /^outputs lose 0\.\d+ of what plain rounding would have lost, at most /,
      );
      await assert.rejects(
        quantizeCommand({ ...options, calibration: { ...calibration, path: at("x") } }, context),
        { message: /^Cannot read ".*x" as it must be a text file: got nothing there$/ },
      );
    }),
);
