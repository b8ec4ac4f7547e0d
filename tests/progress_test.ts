/** Claims about lib/progress.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesText, clock, createProgress, printable, progressLine } from "../lib/progress.ts";

/** A progress bar on a pretended terminal: what it wrote, and a clock to turn. */
function bar(options: { terminal?: boolean; columns?: number; color?: boolean } = {}) {
  const written: string[] = [];
  const time = { ms: 0 };
  const progress = createProgress({
    write: (text) => written.push(text),
    terminal: options.terminal ?? true,
    columns: () => options.columns ?? 80,
    color: options.color,
    now: () => time.ms,
  });
  return { progress, written, time };
}

test("off a terminal nothing is ever written", () => {
  const { progress, written } = bar({ terminal: false });
  progress.update(1, 2, "x");
  progress.finish();
  assert.deepEqual(written, []);
});

test("the bar is drawn at most ten times a second, and wiped at the end", () => {
  const { progress, written, time } = bar();
  for (time.ms = 0; time.ms < 1000; time.ms++) progress.update(time.ms, 1000, "x");
  assert.equal(written.length, 10);
  progress.finish();
  assert.equal(written[10], "\r\x1b[2K");
});

test("a bar that was never drawn is not wiped", () => {
  const { progress, written } = bar();
  progress.finish();
  assert.deepEqual(written, []);
});

test("the line says what, how far, how much and how long", () => {
  assert.equal(
    progressLine({ done: 1.2e9, total: 2.4e9, what: "up_proj", ms: 65000, columns: 100 }),
    "up_proj  ############------------   50 %  1.2 GB of 2.4 GB  1:05 left",
  );
});

test("what is no bytes is counted by its unit", () => {
  assert.equal(
    progressLine({ done: 3, total: 12, what: "text", unit: "windows", ms: 500, columns: 100 }),
    "text  ######------------------   25 %  3 of 12 windows",
  );
});

test("what is printed after the bar was wiped is not wiped", () => {
  const { progress, written } = bar();
  progress.update(1, 2, "x");
  progress.finish();
  progress.finish();
  assert.equal(written.length, 2);
});

test("no width is ever exceeded, and names keep their end", () => {
  const at = { done: 5, total: 9, what: `model.${"x".repeat(300)}.weight`, ms: 5000 };
  for (let columns = 0; columns < 200; columns++) {
    const line = progressLine({ ...at, columns });
    assert.ok(line.length <= columns, `${line.length} > ${columns}`);
    if (columns >= 90) assert.match(line, /^\.\.\..*weight {2}#/);
  }
});

test("nothing to do is done", () => {
  const at = { done: 0, total: 0, what: "x", ms: 0, columns: 80 };
  assert.match(progressLine(at), /100 %/);
});

test("colour is there only when asked for", () => {
  for (const color of [false, true]) {
    const { progress, written } = bar({ color });
    progress.update(1, 2, "x");
    assert.equal(written[0].includes("\x1b[36m"), color);
  }
});

test("names cannot steer the terminal", () => {
  assert.equal(printable("a\x1b[2Jb\rc\u202ed\u009be"), "a?[2Jb?c?d?e");
  const { progress, written } = bar();
  progress.update(1, 2, "evil\x1b]0;title\x07");
  assert.ok(written[0].includes("evil?]0;title?"));
});

test("bytes and times read naturally", () => {
  assert.deepEqual([0, 999, 1000, 12345, 999_999, 2.5e9, 4e15].map(bytesText), [
    "0 B",
    "999 B",
    "1.0 kB",
    "12 kB",
    "1.0 MB",
    "2.5 GB",
    "4.0 PB",
  ]);
  assert.deepEqual([0, 59_400, 60_000, 3_600_000, 36_610_000].map(clock), [
    "0:00",
    "0:59",
    "1:00",
    "1:00:00",
    "10:10:10",
  ]);
});
