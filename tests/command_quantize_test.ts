/** Claims about lib/command_quantize.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { quantizeCommand } from "../lib/command_quantize.ts";
import { context, inFolder, makeModel } from "./made_checkpoints.ts";

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
