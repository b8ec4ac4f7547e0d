import { test } from "node:test";
import assert from "node:assert/strict";
import * as afpq from "../mod.ts";
import { runChild } from "./child_process.ts";

const NAMES = [
  // formats and the quantiser
  ..."format formatNames moreFormatNames scaleFormat customFormat exMy quantize dequantize groups bitsPerWeight"
    .split(" "),
  ..."rowCodes groupScales quantizationError nmseOf sumErrors widen narrow".split(" "),
  ..."gptq awqScales layerError relativeError".split(" "),
  // files
  ..."openCheckpoint readSafetensors writeSafetensors headerLength parseHeader".split(" "),
  ..."packedSources packedTensors readPacked".split(" "),
  // the device and its products
  ..."openDevice bindings load matvec matmul dequantise denseMatvec denseMatmul".split(" "),
  ..."prepareProduct uploadTokens createTimer tune reference".split(" "),
  // whole checkpoints
  ..."quantizeCheckpoint quantizeCalibrated dequantizeCheckpoint verifyCheckpoint inspectCheckpoint"
    .split(" "),
  ..."checkCheckpoint checkMatrix worstOf".split(" "),
  // models
  ..."createTrainer loadLora lossOf saveAdapters doubleQuantized openModelConfig".split(" "),
  ..."loadModel loadSmoothed openTokenizer openChatTemplate createSampler generate complete warmUp"
    .split(" "),
  ..."textWindows wikitextText evaluateText evaluateChoices readChoices compareModels".split(" "),
  ..."estimate estimateDifference perplexityOf quantile pairedRatio".split(" "),
  // tables
  "renderTable",
];

test("mod.ts exports these names and no others", () => {
  assert.deepEqual(Object.keys(afpq).sort(), [...NAMES].sort());
});

test("reference has every product of the device, without the device", () => {
  const products = ["matvec", "matmul", "dequantise", "denseMatvec", "denseMatmul"] as const;
  for (const name of products) {
    assert.equal(typeof afpq.reference[name], "function", name);
    assert.equal(typeof afpq[name], "function", name);
  }
});

test("importing mod.ts needs no permission, prints nothing and leaves nothing running", async () => {
  const mod = new URL("../mod.ts", import.meta.url).href;
  const code = `import { quantize } from ${JSON.stringify(mod)};
quantize(Float32Array.of(1, -2), { rows: 1, cols: 2, format: "nf4-asym" });`;
  const ended = await runChild(code, { denoFlags: ["--no-prompt", "--no-check"] });
  assert.deepEqual(ended, { code: 0, stdout: "", stderr: "" });
});
