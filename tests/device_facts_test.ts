import { test } from "node:test";
import assert from "node:assert/strict";
import { type Device, openDevice } from "../lib/device.ts";
import { deviceFacts, deviceText } from "../lib/device_facts.ts";

const cpu = await openDevice({ binding: "cpu" });
const having = (...traits: string[]) =>
  ({ ...cpu, accuracy: "fast", gpu: { features: new Set(traits) } }) as unknown as Device;

test("deviceText() says what multiplies where it is not f32", () => {
  assert.equal(deviceText(cpu), "TypeScript by cpu");
  assert.equal(deviceText(having("halves")), "TypeScript by cpu, f16 arithmetic");
  assert.equal(
    deviceText({ ...having("bytes", "halves"), fast: true, matrixUnits: true }),
    "TypeScript by cpu, fast, 8-bit activations, f16 arithmetic, matrix units",
  );
});

test("deviceFacts() has the same by fields", () => {
  const { arithmetic, accuracy } = deviceFacts(having("bytes"));
  assert.deepEqual([arithmetic, accuracy], [["8-bit activations"], "fast"]);
  assert.deepEqual(deviceFacts(cpu).arithmetic, []);
});
