/** Claims about lib/waiting.ts. */
import assert from "node:assert/strict";
import { setImmediate, setTimeout } from "node:timers";
import { test } from "node:test";
import { eventLoop, waitPatiently } from "../lib/waiting.ts";

const sleep = (ms: number) => new Promise((resume) => setTimeout(resume, ms));

/** Milliseconds from the call until the work is asked for, and the result. */
async function asked(kind: object, ms: number): Promise<number> {
  const start = performance.now();
  return await waitPatiently(kind, async () => {
    const rested = performance.now() - start;
    await sleep(Math.max(0, ms - rested));
    return rested;
  });
}

test("from the third wait of a kind on, most of it is slept through", async () => {
  const kind = {};
  assert.ok(await asked(kind, 100) < 50);
  assert.ok(await asked(kind, 100) < 50);
  assert.ok(await asked(kind, 100) > 80);
  assert.ok(await asked({}, 100) < 50, "another kind is not known");
});

test("of the last two the shorter counts, so that a first one that compiles does not", async () => {
  const kind = {};
  await asked(kind, 300);
  await asked(kind, 40);
  assert.ok(await asked(kind, 40) < 200);
});

test("short waits do not rest, and a rest that was too long gets shorter", async () => {
  const [short, long] = [{}, {}];
  for (let i = 0; i < 2; i++) await waitPatiently(short, () => Promise.resolve());
  const start = performance.now();
  assert.equal(await waitPatiently(short, () => Promise.resolve(7)), 7);
  assert.ok(performance.now() - start < 50);
  for (let i = 0; i < 2; i++) await asked(long, 200);
  const rests = [await asked(long, 0), await asked(long, 0), await asked(long, 0)];
  assert.ok(rests[0] > 150 && rests[2] < rests[0], `${rests}`);
});

test("what goes wrong goes through", async () => {
  const failing = waitPatiently({}, () => Promise.reject(new Error("lost")));
  await assert.rejects(failing, { message: "lost" });
});

test("eventLoop() lets through what waits for a turn", async () => {
  let through = false;
  setImmediate(() => through = true);
  await eventLoop();
  assert.ok(through);
});
