/** Claims about lib/command_verify.ts. */
import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { verifyCommand } from "../lib/command_verify.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { context, inFolder, makeModel } from "./made_checkpoints.ts";

test("an untouched folder has no rows and no failure, a touched one a row a fault", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await quantizeCheckpoint(at("m"), at("q"));
    const whole = await verifyCommand({ path: at("q") }, context);
    assert.deepEqual([whole.rows, whole.failure], [[], undefined]);
    assert.deepEqual(whole.json, { ok: true, files: 4, tensors: 13 });
    await rm(at("q", "tokenizer.json"));
    await writeFile(at("q", "extra"), "");
    const touched = await verifyCommand({ path: at("q") }, context);
    assert.deepEqual(touched.rows, [
      { file: "extra", tensor: "", reason: "is not in afpq.json" },
      { file: "tokenizer.json", tensor: "", reason: "is missing" },
    ]);
    assert.match(touched.failure!, /got "extra" is not in afpq.json; "tokenizer.json" is missing$/);
    assert.deepEqual(touched.lines, []);
  }));
