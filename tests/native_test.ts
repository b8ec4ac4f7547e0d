import assert from "node:assert/strict";
import process from "node:process";
import { capturingStderr, openLibrary, withEnvironment } from "../lib/native.ts";
import { testUnless } from "./test_unless.ts";

const skip = process.platform === "linux" ? null : "written for Linux";
const cString = (text: string) => new TextEncoder().encode(text + "\0");

/** Prints as native code does: `node:fs` would be heard by Deno's test runner alone. */
async function print(text: string): Promise<void> {
  const { write } = await openLibrary("libc.so.6", { write: ["i32", "buffer", "usize"] });
  write(2, new TextEncoder().encode(text), text.length);
}

/** Whether C sees a variable. */
async function isSet(name: string): Promise<boolean> {
  const { getenv } = await openLibrary("libc.so.6", { getenv: ["buffer"] });
  return getenv(cString(name)) !== 0;
}

testUnless(skip, "capturingStderr() gives what was printed, as lines, and the result", async () => {
  const captured = await capturingStderr(async () => {
    await print("one\n\ntwo");
    return 3;
  });
  assert.deepEqual(captured, { result: 3, lines: ["one", "two"] });
});

testUnless(skip, "capturingStderr() runs one act at a time", async () => {
  const act = async (text: string) => {
    await print(`${text} begins\n`);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await print(`${text} ends\n`);
  };
  const both = await Promise.all(["a", "b"].map((text) => capturingStderr(() => act(text))));
  assert.deepEqual(both.map(({ lines }) => lines), [
    ["a begins", "a ends"],
    ["b begins", "b ends"],
  ]);
});

testUnless(skip, "an error out of capturingStderr() has what was printed before it", async () => {
  const act = async () => {
    await print("last words\n");
    throw new Error("gone");
  };
  await assert.rejects(capturingStderr(act), { message: "gone", printed: ["last words"] });
});

testUnless(skip, "withEnvironment() sets a variable for C, then takes it away", async () => {
  const seen = await withEnvironment(
    { AFPQ_TEST_VARIABLE: "1" },
    () => isSet("AFPQ_TEST_VARIABLE"),
  );
  assert.deepEqual([seen, await isSet("AFPQ_TEST_VARIABLE")], [true, false]);
});

testUnless(skip, "withEnvironment() gives back a value that was there", async () => {
  await withEnvironment({ PATH: "/nowhere" }, () => Promise.resolve());
  assert.equal(await isSet("PATH"), true);
});

testUnless(skip, "openLibrary() refuses a library that is not there", async () => {
  await assert.rejects(openLibrary("/nowhere/lib.so", { f: [] }), Error);
});
