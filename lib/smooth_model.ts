/**
 * A model with weights and activations of few bits, to be scored: its layers are smoothed with what a
 * calibration text shows of their inputs (smoothquant.ts), then rounded. In host memory as a whole,
 * in plain TypeScript: this is for finding out what W8A8 or W4A8 costs, not for speed.
 *
 * @module
 */

import { blocksOnCpu, type HostLayer } from "./block_inputs.ts";
import { denseMatrix, layerInF32, weightsOf } from "./calibrate.ts";
import { openCheckpoint } from "./checkpoint.ts";
import type { Device } from "./device.ts";
import type { FloatDtype } from "./float16.ts";
import { foldScales, sharedMagnitudes } from "./folding.ts";
import type { Format } from "./format.ts";
import { type LanguageModel, languageModel } from "./llama.ts";
import { createCpuRunner, hostKeeper } from "./llama_cpu.ts";
import { openModelConfig } from "./model_config.ts";
import { weightReader } from "./model.ts";
import { linearNames } from "./ops.ts";
import type { Group } from "./pack.ts";
import { embed } from "./pointwise_reference.ts";
import { quantize } from "./quantizer.ts";
import { int8Activations, int8Rows, smoothScales } from "./smoothquant.ts";

/** How a model is made small. */
export interface SmoothOptions {
  /** Windows of a calibration text. */
  readonly windows: readonly Uint32Array[];
  /** Share of outliers that moves into the weights; null leaves them. */
  readonly alpha: number | null;
  /** What the decoder's linears become: 8 bits a row, a format, or nothing else. */
  readonly weights: "int8" | { format: Format | string; group: Group } | null;
  /** Whether inputs of linears are rounded to 8 bits a token. */
  readonly int8: boolean;
}

/** Loads a Hugging Face folder, smoothed and rounded, onto the host. */
export async function loadSmoothed(
  device: Device,
  path: string,
  { windows, alpha, weights, int8 }: SmoothOptions,
): Promise<LanguageModel> {
  const checkpoint = await openCheckpoint(path);
  const config = await openModelConfig(checkpoint);
  const context = windows[0].length;
  const read = weightReader(checkpoint, config, hostKeeper);
  const embedding = await read.embedding();
  const start = blocksOnCpu(config, context);
  let hidden = windows.map((ids): Float32Array => embed(embedding.parts[0], ids));
  const layers: HostLayer[] = [];
  for (let at = 0; at < config.layers; at++) {
    const layer = layerInF32(await read.layer(at));
    if (alpha !== null) {
      const block = await start({ ...layer }, hidden);
      const { dtype } = checkpoint.tensors.get(`model.layers.${at}.input_layernorm.weight`)!;
      for (const linear of linearNames) {
        const { largest } = await block.moments(linear);
        const shared = sharedMagnitudes(largest, linear, config);
        const own = smoothScales(layer[linear].parts.map(weightsOf), shared, alpha);
        const scales = sharedMagnitudes(own, linear, config);
        foldScales(layer, linear, scales, { config, dtype: dtype as FloatDtype });
      }
      hidden = await block.finish();
    }
    layers.push(rounded(layer, weights));
  }
  const norm = await read.norm();
  const head = config.tied ? embedding : await read.head();
  const model = { embedding, layers, norm, head };
  const runner = createCpuRunner(
    config,
    { context, kvF16: false },
    model,
    int8 ? (ops) => int8Activations(ops, head) : undefined,
  );
  return languageModel(device, config, context, runner);
}

/** A layer whose linears are rounded. */
function rounded(layer: HostLayer, weights: SmoothOptions["weights"]): HostLayer {
  if (weights === null) return layer;
  const changed = { ...layer };
  for (const linear of linearNames) {
    const parts = layer[linear].parts.map((part) => {
      const w = weightsOf(part);
      return weights === "int8"
        ? denseMatrix(part, int8Rows(w, part.cols))
        : quantize(w, { rows: part.rows, cols: part.cols, ...weights });
    });
    changed[linear] = { ...layer[linear], parts };
  }
  return changed;
}
