/**
 * One linear's matrices, quantised by a method that knows the linear's inputs.
 *
 *   rtn        round to nearest: the paper's method, no calibration needed
 *   weighted   scales by what the output loses (output_clip.ts), starting from those by which the
 *              weights themselves lose least
 *   awq        inputs scaled first (awq.ts), then as `weighted`
 *   gptq       error feedback (gptq.ts), scales that lose least of what it minimises; then codes and
 *              scales once more, one at a time (refinement.ts)
 *   gptq+awq   inputs scaled first, then as `gptq`
 *
 * Every matrix is told by its error of weights and of outputs, and by what plain rounding would have
 * left.
 *
 * @module
 */

import type { Format } from "./format.ts";
import { gptq } from "./gptq.ts";
import { layerError, relativeError } from "./layer_error.ts";
import { clipByOutput } from "./output_clip.ts";
import type { Group, QuantizedMatrix } from "./pack.ts";
import { type QuantizationError, quantizationError } from "./quantization_error.ts";
import { dequantize, quantize } from "./quantizer.ts";
import { refine } from "./refinement.ts";
import { F16_SCALES, type ScaleFormat } from "./scale_format.ts";
import type { Symmetric } from "./triangular.ts";

/** Ways to quantise. */
export const methods = ["rtn", "weighted", "awq", "gptq", "gptq+awq"] as const;

/** One of them. */
export type Method = typeof methods[number];

/** How linears are to be quantised. */
export interface LinearOptions {
  readonly format: Format;
  readonly group: Group;
  readonly method: Method;
  /** Of GPTQ: visit columns by how much they are felt. */
  readonly actOrder?: boolean;
  /** How scales are stored, as f16 unless told; codes are searched for by the error of weights. */
  readonly scales?: ScaleFormat;
  /** The true factor of coded scales that tensors share. */
  readonly factor?: number;
}

/** A matrix W [rows, cols] with its name. */
export interface NamedMatrix {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly w: Float32Array;
}

/** What became of a matrix. */
export interface QuantizedLinear {
  readonly matrix: QuantizedMatrix;
  /** Of its weights. */
  readonly error: QuantizationError;
  /** Share of its outputs that is lost. */
  readonly outputError: number;
  /** Weights that feedback pushed beyond their group's reach. */
  readonly saturated: number;
}

/** Quantises W for inputs of second moments H [cols, cols]. */
export function quantizeLinear(
  { name, rows, cols, w }: NamedMatrix,
  h: Symmetric,
  { format, group, method, actOrder, scales = F16_SCALES, factor }: LinearOptions,
): QuantizedLinear {
  const shape = { rows, cols, format, group, name };
  const plain = (clip: boolean) => quantize(w, { ...shape, scales, factor, clip });
  let matrix: QuantizedMatrix, saturated = 0;
  if (method.startsWith("gptq")) {
    const fed = gptq(w, h, { ...shape, scales, factor, actOrder, clip: true });
    [matrix, saturated] = [refine(fed.matrix, w, h), fed.saturated];
  } else if (method === "rtn") matrix = plain(scales.bits < 16);
  else matrix = clipByOutput(plain(true), w, h);
  const outputError = relativeError(layerError(dequantize(matrix), w, h));
  return { matrix, error: quantizationError(matrix, w), outputError, saturated };
}
