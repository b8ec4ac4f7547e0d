import { test } from "node:test";
import assert from "node:assert/strict";
import { format } from "../lib/format.ts";
import { claimsText, readClaims } from "../lib/packed_claims.ts";
import { scaleFormat } from "../lib/scale_format.ts";

const shape = { rows: 3, cols: 64, format: format("nf4-asym"), group: 32 } as const;
const claims = { ...shape, scaleExponent: -2, underflows: 0, dtype: "BF16" } as const;

function read(text: string) {
  return readClaims("w", text, (rule, got) => {
    throw new RangeError(`${rule}: got ${got}`);
  });
}

test("what is written is read, with f16 scales, factors of rows and the factor of a tensor", () => {
  const row = { ...claims, scaleFormat: scaleFormat("e1m3-row") };
  const tensor = { ...claims, scaleFormat: scaleFormat("e8m0-tensor"), factor: 1.5 };
  for (const facts of [claims, row, tensor]) assert.deepEqual(read(claimsText(facts)), facts);
});

test("the text of f16 scales does not speak of them", () => {
  assert.doesNotMatch(claimsText(claims), /scales|factor/);
});

/** Claims that are refused, and the rule that is told. */
const REFUSED: [object, RegExp][] = [
  [{ scales: "e9m9-row" }, /scales must be a storage/],
  [{ scales: "f16" }, /scales must be a storage/],
  [{ scales: 4 }, /scales must be a storage/],
  [{ scales: "e1m3-tensor" }, /factor must be 0 or an f16 in \[1, 2\]: got undefined/],
  [{ scales: "e1m3-tensor", factor: 3 }, /factor must be/],
  [{ scales: "e1m3-tensor", factor: "1" }, /factor must be/],
  [{ scales: "e1m3-tensor", factor: 1.00001 }, /factor must be/],
  [{ group: 7 }, /group must be/],
  [{ dtype: "I8" }, /dtype must be/],
];

test("claims out of range are refused", () => {
  for (const [claim, message] of REFUSED) {
    const text = JSON.stringify({ ...JSON.parse(claimsText(claims)), ...claim });
    assert.throws(() => read(text), { name: "RangeError", message }, JSON.stringify(claim));
  }
});
