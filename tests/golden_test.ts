import { test } from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { readSafetensors } from "../lib/checkpoint.ts";
import { type FloatDtype, widen } from "../lib/float16.ts";
import {
  nmseOf,
  type QuantizationError,
  quantizationError,
  sumErrors,
} from "../lib/quantization_error.ts";
import { quantize } from "../lib/quantizer.ts";

/** What an independent implementation found, see golden/README.md. */
interface Golden {
  weights_sha256: string;
  quantised: {
    group: number;
    formats: Record<string, { relative_weight_mse: number; linears: Record<string, number> }>;
  };
}

const golden: Golden = JSON.parse(
  await readFile(new URL("golden/tiny-llama.json", import.meta.url), "utf8"),
);
const model = fileURLToPath(new URL("../examples/tiny-llama/model.safetensors", import.meta.url));
const { group, formats } = golden.quantised;

test("the golden values belong to the shipped weights", async () => {
  const hash = createHash("sha256").update(await readFile(model)).digest("hex");
  assert.equal(hash, golden.weights_sha256);
});

for (const [format, { relative_weight_mse: wanted, linears }] of Object.entries(formats)) {
  test(`${format} has the golden weight error, of each of 42 linears and of all`, async () => {
    const errors: QuantizationError[] = [];
    for await (const tensor of readSafetensors(model)) {
      const golden = linears[tensor.name.replace(/\.weight$/, "")];
      if (golden === undefined) continue;
      const [rows, cols] = tensor.shape.map(Number);
      const w = widen(await tensor.bytes(), tensor.dtype as FloatDtype);
      const error = quantizationError(quantize(w, { rows, cols, format, group }), w);
      assertNear(nmseOf(error), golden, tensor.name);
      errors.push(error);
    }
    assert.equal(errors.length, 42);
    assertNear(nmseOf(sumErrors(errors)), wanted, "all");
  });
}

function assertNear(got: number, wanted: number, what: string): void {
  const relative = Math.abs(got / wanted - 1);
  assert.ok(relative <= 1e-5, `${what}: ${got} is not ${wanted} (relative ${relative})`);
}
