/** Claims about lib/block_inputs.ts. */
import assert from "node:assert/strict";
import { setImmediate } from "node:timers";
import { test } from "node:test";
import { blocksOnCpu } from "../lib/block_inputs.ts";
import { scaleRows } from "../lib/folding.ts";
import { linearNames } from "../lib/ops.ts";
import { madeLayer } from "./made_layers.ts";
import { CONFIGS } from "./made_models.ts";
import { fill, normal } from "./random.ts";

const { layer, config } = madeLayer(CONFIGS["llama"], "F32");
const windows = [fill(9 * 48, normal(1)), fill(9 * 48, normal(2))];
const start = blocksOnCpu(config, 9);

test("a block that is asked for its inputs ends where one that is not does", async () => {
  const asked = await start({ ...layer }, windows);
  const sizes = [];
  for (const linear of linearNames) {
    const { cols, tokens, h, largest } = await asked.moments(linear);
    assert.ok(
      h.every((value, at) => Math.abs(value) <= largest[at % cols] * largest[at / cols | 0]),
    );
    sizes.push([cols, tokens]);
  }
  assert.deepEqual(sizes, [[48, 18], [48, 18], [48, 18], [80, 18]]);
  const plain = await start({ ...layer }, windows);
  assert.deepEqual(await asked.finish(), await plain.finish());
});

test("what is put in a linear's place is what later linears are given the results of", async () => {
  const changed = { ...layer };
  const block = await start(changed, windows);
  const before = await block.moments("qkv");
  changed.qkv = scaleRows(layer.qkv, 0, new Float64Array(96));
  const { h } = await block.moments("output");
  assert.ok(before.h.some((value) => value !== 0));
  assert.ok(h.every((value) => value === 0), "v is 0, so attention gives 0");
});

test("windows do not see each other, and are not changed", async () => {
  const kept = windows.map((x) => x.slice());
  const both = await (await start({ ...layer }, windows)).finish();
  const alone = await (await start({ ...layer }, [windows[1]])).finish();
  assert.deepEqual(both[1], alone[0]);
  assert.deepEqual(windows, kept);
});

test("linears out of their order are refused", async () => {
  const block = await start({ ...layer }, windows);
  await block.moments("qkv");
  await assert.rejects(block.moments("down"), /linears come in order: got down out of it/);
});

test("the event loop turns after each window", async () => {
  const block = await start({ ...layer }, windows);
  for (const run of [() => block.moments("qkv"), () => block.finish()]) {
    let turns = 0;
    const count = () => void (++turns < windows.length && setImmediate(count));
    setImmediate(count);
    await run();
    assert.equal(turns, windows.length);
  }
});
