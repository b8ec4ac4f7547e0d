/** Claims about lib/command_check.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkCommand } from "../lib/command_check.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { context, inFolder, makeModel } from "./made_checkpoints.ts";

test("one row a matrix with a column a batch and what multiplied, and the device by name", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"));
    const { json, rows, lines, failure } = await checkCommand(
      { path: at("q"), binding: "cpu" },
      context,
    );
    assert.equal(rows.length, 4);
    assert.deepEqual(Object.keys(rows[0]), ["tensor", "batch 1", "batch 2", "batch 17", "kernels"]);
    assert.equal(rows[0].kernels, "reference");
    assert.deepEqual((json as { device: unknown }).device, {
      binding: "cpu",
      adapter: "TypeScript",
      backend: "typescript",
      software: true,
      fast: false,
      accuracy: "exact",
      arithmetic: [],
      matrixUnits: false,
    });
    assert.equal(lines[0], "TypeScript by cpu: worst error 0 of the bound");
    assert.equal(failure, undefined);
  }));
