/**
 * afpq: quantises the weights of language models to 4 or 3 bits, with a scale for each side of zero
 * where a format has two (AFPQ), and runs the packed models on WebGPU, in Deno and Bun.
 *
 * Nothing happens on import, and nothing but the device, files and tables needs a permission.
 *
 * @example Four weights, by hand
 * ```ts
 * import { dequantize, format, quantize } from "./mod.ts";
 * import assert from "node:assert/strict";
 *
 * const w = Float32Array.of(0.9, -0.1, 0.45, -0.05); // positives reach 9 times as far
 * const shape = { rows: 1, cols: 4, group: "row" } as const;
 * const one = dequantize(quantize(w, { ...shape, format: format("fp4-sym") }));
 * const two = dequantize(quantize(w, { ...shape, format: format("fp4-asym") }));
 * assert.ok(Math.abs(two[3] - w[3]) < Math.abs(one[3] - w[3]));
 * ```
 *
 * @module
 */

// Formats and the quantiser: pure
export {
  customFormat,
  exMy,
  type Format,
  format,
  formatNames,
  moreFormatNames,
} from "./lib/format.ts";
export { type ScaleFormat, scaleFormat } from "./lib/scale_format.ts";
export { bitsPerWeight, type Group, groups, type QuantizedMatrix } from "./lib/pack.ts";
export {
  dequantize,
  groupScales,
  quantize,
  type QuantizeOptions,
  rowCodes,
} from "./lib/quantizer.ts";
export {
  nmseOf,
  type QuantizationError,
  quantizationError,
  sumErrors,
} from "./lib/quantization_error.ts";
export { gptq, type GptqOptions, type GptqResult } from "./lib/gptq.ts";
export { type AwqOptions, type AwqScales, awqScales } from "./lib/awq.ts";
export { type LayerError, layerError, relativeError } from "./lib/layer_error.ts";
export { type FloatDtype, narrow, widen } from "./lib/float16.ts";

// Files
export { openCheckpoint, readSafetensors } from "./lib/checkpoint.ts";
export type { Tensor } from "./lib/safetensors.ts";
export { headerLength, parseHeader, type TensorEntry } from "./lib/safetensors_header.ts";
export { type TensorSource, writeSafetensors } from "./lib/safetensors_writer.ts";
export { packedSources, packedTensors, readPacked } from "./lib/packed_tensors.ts";

// The device and its products; `reference` has the same names in TypeScript, without a device
export { type Binding, bindings, type Device, openDevice } from "./lib/device.ts";
export {
  denseMatmul,
  type DenseMatrix,
  denseMatvec,
  dequantise,
  load,
  type Loaded,
  matmul,
  matvec,
  type ProductOptions,
} from "./lib/linear.ts";
export {
  type PreparedProduct,
  prepareProduct,
  type ProductBuffers,
  uploadTokens,
} from "./lib/prepared_product.ts";
export { createTimer, type Timer } from "./lib/timing.ts";
export { tune, type Tuned, type TuneOptions } from "./lib/tuning.ts";
export * as reference from "./lib/linear_reference.ts";

// Whole checkpoints: what the commands of the same names do
export { quantizeCheckpoint, type QuantizeCheckpointOptions } from "./lib/quantize_checkpoint.ts";
export {
  type CalibratedOptions,
  type CalibratedSummary,
  quantizeCalibrated,
} from "./lib/quantize_calibrated.ts";
export { dequantizeCheckpoint } from "./lib/dequantize_checkpoint.ts";
export { verifyCheckpoint } from "./lib/verify_checkpoint.ts";
export { inspectCheckpoint } from "./lib/inspect_checkpoint.ts";
export { checkCheckpoint, checkMatrix, worstOf } from "./lib/check_checkpoint.ts";

// Models: text in, text and scores out
export {
  type LanguageModel,
  loadModel,
  type LoadModelOptions,
  type ModelStats,
} from "./lib/llama.ts";
export { loadSmoothed, type SmoothOptions } from "./lib/smooth_model.ts";
export {
  createTrainer,
  loadLora,
  type LoraModel,
  type LoraOptions,
  lossOf,
  saveAdapters,
  type TrainStep,
} from "./lib/lora.ts";
export { doubleQuantized } from "./lib/double_quantization.ts";
export { openModelConfig } from "./lib/model_config.ts";
export { openTokenizer, type Tokenizer } from "./lib/tokenizer.ts";
export { type ChatMessage, type ChatTemplate, openChatTemplate } from "./lib/chat_template.ts";
export { createSampler, type SamplerOptions } from "./lib/sampling.ts";
export {
  complete,
  generate,
  type Generated,
  type GenerateOptions,
  type Step,
  warmUp,
} from "./lib/generate.ts";
export { type TextWindows, textWindows, wikitextText } from "./lib/text_windows.ts";
export { evaluateChoices, evaluateText, type TextScore } from "./lib/evaluate.ts";
export { type ChoiceItem, readChoices } from "./lib/choices.ts";
export { compareModels, type Comparison } from "./lib/compare.ts";
export {
  type Estimate,
  estimate,
  estimateDifference,
  type Median,
  pairedRatio,
  perplexityOf,
  quantile,
} from "./lib/statistics.ts";

// Tables, by arquero
export { renderTable, type Row } from "./lib/report.ts";
