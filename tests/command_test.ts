/** Claims about lib/command.ts: help and flags say the same. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { aliases, commands, commonFlags, generalHelp } from "../lib/command.ts";

for (const [name, usage] of Object.entries(commands)) {
  const flags = [...usage.string, ...usage.boolean, ...commonFlags];

  test(`the help of ${name} tells every flag it has and none that it has not`, () => {
    const told = new Set([...usage.help.matchAll(/--([a-z-]+)/g)].map(([, flag]) => flag));
    assert.deepEqual([...told].sort(), [...flags].sort());
  });

  test(`the help of ${name} fits a terminal and shows examples of the command`, () => {
    const lines = usage.help.split("\n");
    assert.ok(lines.every((line) => line.length <= 100), lines.find((line) => line.length > 100));
    const examples = lines.slice(lines.indexOf("examples") + 1);
    assert.ok(examples.length > 0);
    for (const line of examples) assert.ok(line.startsWith(`  afpq ${name}`), line);
    assert.ok(usage.help.startsWith(`afpq ${[name, ...usage.words].join(" ")}`));
  });

  test(`what ${name} collects and wants are string flags of it`, () => {
    for (const flag of [...usage.collect, ...usage.required]) {
      assert.ok(usage.string.includes(flag), flag);
    }
  });
}

test("the general help names every command", () => {
  for (const [name, { summary }] of Object.entries(commands)) {
    assert.ok(generalHelp.includes(`  ${name.padEnd(11)} ${summary}\n`));
  }
});

test("one-letter spellings are letters of flags that exist", () => {
  const flags = Object.values(commands).flatMap(({ string, boolean }) => [...string, ...boolean]);
  for (const [flag, letter] of Object.entries(aliases)) {
    assert.ok([...flags, ...commonFlags].includes(flag), flag);
    assert.match(letter, /^[a-z]$/);
  }
});
