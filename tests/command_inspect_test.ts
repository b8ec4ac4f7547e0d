/** Claims about lib/command_inspect.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspectCommand } from "../lib/command_inspect.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { inFolder, makeModel } from "./made_checkpoints.ts";

test("a quantised matrix is one row with its format, before what is dense", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"), { format: "fp3-sym", group: "row" });
    const { rows, lines } = await inspectCommand({ path: at("q") });
    assert.equal(rows.length, 9);
    assert.deepEqual(rows.slice(0, 4).find(({ shape }) => shape === "[40, 93]"), {
      tensor: "model.layers.0.mlp.down_proj.weight",
      dtype: "fp3-sym",
      shape: "[40, 93]",
      // A row: three units of 12 bytes, one scale rounded up to four bytes.
      bytes: 40 * (3 * 12 + 4),
      group: "row",
      "bits/weight": 8 * 40 / 93,
    });
    assert.match(lines[0], /^13 tensors, .*; 4 matrices quantised at [\d.]+ bits a weight$/);
  }));

test("a document is made without the rows of its table", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const result = await inspectCommand({ path: at("m") });
    assert.equal(typeof Object.getOwnPropertyDescriptor(result, "rows")?.get, "function");
  }));

test("a dense checkpoint has a row a tensor", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const { rows, lines } = await inspectCommand({ path: at("m") });
    assert.equal(rows.length, 9);
    assert.deepEqual(Object.keys(rows[0]), ["tensor", "dtype", "shape", "bytes"]);
    assert.match(lines[0], /^9 tensors, \d+ kB$/);
  }));
