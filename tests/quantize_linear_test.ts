/** Claims about lib/quantize_linear.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { format as formatOf, formatNames } from "../lib/format.ts";
import { methods, quantizeLinear } from "../lib/quantize_linear.ts";
import { quantize } from "../lib/quantizer.ts";
import { gramOf } from "./made_moments.ts";
import { fill, normal } from "./random.ts";

const [rows, cols] = [12, 96];
const h = gramOf(cols, 500, 4);
const w = fill(rows * cols, normal(9));
const named = { name: "w", rows, cols, w };

for (const name of formatNames) {
  test(`outputs lose less from method to method: ${name}`, () => {
    const format = formatOf(name);
    const errors = methods.map((method) => {
      return quantizeLinear(named, h, { format, group: 32, method }).outputError;
    });
    const [rtn, weighted, , gptq] = errors;
    assert.ok(weighted < rtn && gptq < weighted, errors.join(", "));
  });
}

test("rtn is quantize(), with its errors", () => {
  const shape = { format: formatOf("nf4-asym"), group: 32 as const };
  const { matrix, outputError, error, saturated } = quantizeLinear(named, h, {
    ...shape,
    method: "rtn",
  });
  assert.deepEqual(matrix, quantize(w, { ...named, ...shape }));
  assert.ok(outputError > 0 && error.squaredError > 0 && saturated === 0);
});
