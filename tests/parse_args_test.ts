/** Claims about lib/parse_args.ts. (std also sets aliases beside keys; nothing here reads them.) */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseArgs } from "../lib/parse_args.ts";

const options = {
  string: ["_", "out", "group", "include"],
  boolean: ["json", "force"],
  collect: ["include"],
  alias: { out: "o" },
};
const parse = (...args: string[]) => ({ ...parseArgs(args, options) });
const none = { _: [], json: false, force: false, include: [] };

test("a boolean left out is false and a collected flag left out is []", () => {
  assert.deepEqual(parse(), none);
});

test("--key value, --key=value and -k value say the same", () => {
  for (const args of [["--out", "x"], ["--out=x"], ["-o", "x"], ["-o=x"]]) {
    assert.deepEqual(parse(...args), { ...none, out: "x" });
  }
});

test("an alias may be listed in either direction", () => {
  const args = parseArgs(["-o", "x"], { string: ["out"], alias: { o: "out" } });
  assert.equal(args.out, "x");
});

test("words keep their order and stay strings", () => {
  assert.deepEqual(parse("a", "--json", "12", "b"), { ...none, _: ["a", "12", "b"], json: true });
});

test("a string flag followed by a flag, or by nothing, is empty", () => {
  assert.deepEqual(parse("--out", "--json"), { ...none, out: "", json: true });
  assert.deepEqual(parse("--group"), { ...none, group: "" });
});

test("a lone dash and a negative number are values", () => {
  assert.deepEqual(parse("--out", "-", "--group", "-5"), { ...none, out: "-", group: "-5" });
});

test("a value keeps its equals signs, dashes and newlines", () => {
  assert.equal(parse("--out=a=b\n--c").out, "a=b\n--c");
});

test("collected flags gather in order, others keep the last", () => {
  const args = parse("--include", "a*", "--include=b*", "--group", "32", "--group", "row");
  assert.deepEqual(args, { ...none, include: ["a*", "b*"], group: "row" });
});

test("everything after -- is a word", () => {
  assert.deepEqual(parse("--json", "--", "--out", "-x"), {
    ...none,
    json: true,
    _: ["--out", "-x"],
  });
});

test("unknown() hears flags with their key and words without, and may leave them out", () => {
  const heard: unknown[][] = [];
  const args = parseArgs(["word", "--odd=1", "-z"], {
    ...options,
    unknown: (...call) => {
      heard.push(call);
      return call[1] === undefined;
    },
  });
  assert.deepEqual(heard, [["word"], ["--odd", "odd", "1"], ["-z", "z", true]]);
  assert.deepEqual({ ...args }, { ...none, _: ["word"] });
});

test("unknown() hears a boolean with a value that is neither true nor false", () => {
  for (const arg of ["--force=no", "--force=0", "--force=", "--force=False"]) {
    const heard: unknown[][] = [];
    const unknown = (...call: unknown[]) => heard.push(call) < 0;
    assert.deepEqual({ ...parseArgs([arg, "--json=true"], { ...options, unknown }) }, {
      ...none,
      json: true,
    });
    assert.deepEqual(heard, [[arg, "force", true]]);
  }
  const refuse = () => assert.fail("called");
  const args = ["--json=false", "--force=true", "--json"];
  assert.equal(parseArgs(args.slice(0, 2), { ...options, unknown: refuse }).json, false);
  assert.equal(parseArgs(args, { ...options, unknown: refuse }).json, true);
});

test("short flags run together are heard whole: -oOUT is not -o", () => {
  const heard: unknown[] = [];
  parseArgs(["-oout"], { ...options, unknown: (word) => heard.push(word) > 0 && false });
  assert.equal(heard[0], "-oout");
});

test("defaults stand until a flag says otherwise", () => {
  const shape = { ...options, default: { group: "128", json: true } };
  assert.equal(parseArgs([], shape).group, "128");
  assert.equal(parseArgs([], shape).json, true);
  assert.equal(parseArgs(["--group", "32"], shape).group, "32");
});

test("names of Object.prototype are ordinary flags", () => {
  const heard: unknown[] = [];
  parseArgs(["--__proto__", "--constructor=1"], { unknown: (arg) => heard.push(arg) > 99 });
  assert.deepEqual(heard, ["--__proto__", "--constructor"]);
});
