import { test } from "node:test";
import assert from "node:assert/strict";
import { byteLevelsOf, commonByteLevels } from "../lib/byte_levels.ts";
import { weights } from "./linear_cases.ts";

const levelsOf = (name: string) => byteLevelsOf(weights(4, 64, name, 32));

test("byteLevelsOf() counts the steps that make levels whole numbers of a byte", () => {
  assert.deepEqual(levelsOf("fp4-asym"), { steps: 2, run: false });
  assert.deepEqual(levelsOf("fp3-asym"), { steps: 1, run: false });
  assert.deepEqual(levelsOf("int3-asym"), { steps: 1, run: false });
  assert.deepEqual(levelsOf("custom:-31.75,0,1-asym"), { steps: 4, run: false });
  assert.deepEqual(levelsOf("fp4+5-asym"), { steps: 2, run: false });
});

test("byteLevelsOf() sees codes that are whole numbers as they stand", () => {
  assert.deepEqual(levelsOf("int4-asym"), { steps: 1, run: true });
  assert.deepEqual(levelsOf("int4-sym"), { steps: 1, run: true });
});

test("byteLevelsOf() looks for the code that says int4-sym's last level again", () => {
  for (const column of [0, 3, 7]) {
    const q = weights(4, 64, "int4-sym", 32);
    q.codes[5] |= 15 << 4 * column;
    assert.equal(byteLevelsOf(q), null);
  }
});

test("byteLevelsOf() leaves what no byte holds, and one scale a group, to f16", () => {
  for (const name of ["nf4-asym", "lloyd3-asym", "custom:-128,1-asym", "custom:0.001,1-asym"]) {
    assert.equal(levelsOf(name), null, name);
  }
  for (const name of ["fp4-sym", "fp3-sym", "int3-sym"]) assert.equal(levelsOf(name), null, name);
});

test("commonByteLevels() are those that all matrices have", () => {
  const [run, looked] = [{ steps: 1, run: true }, { steps: 1, run: false }];
  assert.deepEqual(commonByteLevels(run, looked), looked);
  assert.deepEqual(commonByteLevels(looked, run), looked);
  assert.deepEqual(commonByteLevels(run, run), run);
  assert.equal(commonByteLevels(run, null), null);
});
