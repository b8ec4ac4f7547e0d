/** Claims about lib/checkpoint_config.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  addQuantizationConfig,
  quantizedBy,
  removeQuantizationConfig,
} from "../lib/checkpoint_config.ts";
import { parseStrictJson } from "../lib/strict_json.ts";

const ours = { quant_method: "afpq", format: "nf4-asym", group: 128, layout: 1 } as const;

const texts = [
  '{\n  "rms_norm_eps": 1e-05,\n  "rope_theta": 10000.0,\n  "torch_dtype": "bfloat16"\n}\n',
  '{"a":{"b":[1,{"c":"}"}]}}',
  '{"brace": "}{\\"", "n": 12345678901234567890}\n\n',
  "{\n}\n",
];

for (const text of texts) {
  test(`every byte around the entry stays: ${JSON.stringify(text)}`, () => {
    const added = addQuantizationConfig(text, ours);
    assert.deepEqual(JSON.parse(added), { ...JSON.parse(text), quantization_config: ours });
    assert.equal(quantizedBy(JSON.parse(added)), "afpq");
    assert.ok(added.startsWith(text.slice(0, text.lastIndexOf("}")).trimEnd()));
    assert.equal(removeQuantizationConfig(added), text);
  });
}

test("without a config the entry stands alone", () => {
  const added = addQuantizationConfig(null, ours);
  assert.deepEqual(JSON.parse(added), { quantization_config: ours });
  assert.deepEqual(JSON.parse(removeQuantizationConfig(added)), {});
});

const INNER = '{"x": {"quantization_config": null, "b": "}"}}';
const empty: [string, string][] = [
  ['{\n  "quantization_config": null,\n  "eps": 1e-05\n}\n', '{\n  "eps": 1e-05\n}\n'],
  ['{"a": 1.0, "quantization_config" : null, "b": 2}', '{"a": 1.0, "b": 2}'],
  ['{"a": 1.0,\n "quantization_config": null\n}', '{"a": 1.0\n}'],
  ['{ "quantization_config": null }', "{ }"],
  ['{"x": {"quantization_config": null, "b": "}"}, "quantization\\u005fconfig": null}', INNER],
];

for (const [text, without] of empty) {
  test(`an entry that says null makes room for ours: ${JSON.stringify(text)}`, () => {
    const added = addQuantizationConfig(text, ours);
    parseStrictJson(new TextEncoder().encode(added)); // refuses a key that comes twice
    assert.deepEqual(JSON.parse(added), { ...JSON.parse(text), quantization_config: ours });
    assert.equal(removeQuantizationConfig(added), without);
  });
}

test("an entry that someone wrote in another way is taken out by value", () => {
  const text = '{"quantization_config":{"quant_method":"gptq"},"a":1}';
  assert.deepEqual(JSON.parse(removeQuantizationConfig(text)), { a: 1 });
  assert.equal(removeQuantizationConfig(text), '{"a":1}');
  assert.equal(removeQuantizationConfig('{"a": 1.0}'), '{"a": 1.0}');
});

test("a quantised model is known by its method, also one part down", () => {
  assert.equal(quantizedBy(null), null);
  assert.equal(quantizedBy({ quantization_config: null }), null);
  assert.equal(quantizedBy({ quantization_config: { quant_method: "gptq" } }), "gptq");
  assert.equal(quantizedBy({ quantization_config: {} }), "an unnamed method");
  assert.equal(
    quantizedBy({ text_config: { quantization_config: { quant_method: "awq" } } }),
    "awq",
  );
});
