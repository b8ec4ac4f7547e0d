/** Claims about lib/command_dequantize.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { dequantizeCommand } from "../lib/command_dequantize.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { context, inFolder, makeModel } from "./made_checkpoints.ts";

test("one line says what was written where", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"));
    const { json, rows, lines } = await dequantizeCommand({ path: at("q"), out: at("d") }, context);
    assert.deepEqual(rows, []);
    assert.match(lines[0], /^4 tensors, 11280 weights; \d+ kB written to .*d in [\d.]+ s$/);
    assert.deepEqual(Object.keys(json as object), [
      "path",
      "tensors",
      "weights",
      "bytes",
      "seconds",
    ]);
  }));
