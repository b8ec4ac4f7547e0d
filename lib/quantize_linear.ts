/**
 * One linear's matrices, quantised by a method that knows the linear's inputs.
 *
 *   rtn        round to nearest: the paper's method, no calibration needed
 *   weighted   scales by what the output loses (output_clip.ts), from those that lose least where
 *              inputs are felt, importance = mean square of the input, or from plain ones, row by row
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

import { powerOfTwo } from "./float16.ts";
import type { Format } from "./format.ts";
import { gptq } from "./gptq.ts";
import { fitGroups } from "./group_rounding.ts";
import { layerError, relativeError, rowEnergies } from "./layer_error.ts";
import { clipByOutput } from "./output_clip.ts";
import { codesShape, type Group, type PackedShape, type QuantizedMatrix } from "./pack.ts";
import { type QuantizationError, quantizationError } from "./quantization_error.ts";
import { dequantize, encode, quantize, scaleBits } from "./quantizer.ts";
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
  const coded = scales.bits < 16;
  const plain = () => quantize(w, { ...shape, scales, factor, clip: coded });
  let matrix: QuantizedMatrix, saturated = 0;
  if (method.startsWith("gptq")) {
    const fed = gptq(w, h, { ...shape, scales, factor, actOrder, clip: true });
    [matrix, saturated] = [refine(fed.matrix, w, h), fed.saturated];
  } else if (method === "rtn") matrix = plain();
  else matrix = clipByOutput(coded ? plain() : weighted(w, h, shape), w, h);
  const outputError = relativeError(layerError(dequantize(matrix), w, h));
  return { matrix, error: quantizationError(matrix, w), outputError, saturated };
}

/** Round to nearest by the better of two sets of scales, row by row. */
export function weighted(
  w: Float32Array,
  h: Symmetric,
  { name, ...shape }: PackedShape & { name: string },
): QuantizedMatrix {
  const { rows, cols } = shape;
  const importance = Float64Array.from({ length: cols }, (_, j) => h[j * cols + j]);
  const plain = fitGroups(w, shape, { name });
  const clipped = fitGroups(w, shape, { name, importance });
  const matrixOf = ({ pairs, scaleExponent, underflows }: typeof plain): QuantizedMatrix => ({
    ...shape,
    name,
    scaleExponent,
    underflows,
    codes: encode(w, pairs, { ...shape, unit: powerOfTwo(-scaleExponent) }),
    scales: scaleBits(pairs, shape),
  });
  const [a, b] = [matrixOf(plain), matrixOf(clipped)];
  const errors = [a, b].map((q) => rowEnergies(dequantize(q).map((v, i) => v - w[i]), h));
  const [, words] = codesShape(shape);
  const halves = a.scales.length / rows;
  for (let row = 0; row < rows; row++) {
    if (errors[0][row] <= errors[1][row]) {
      b.codes.set(a.codes.subarray(row * words, (row + 1) * words), row * words);
      b.scales.set(a.scales.subarray(row * halves, (row + 1) * halves), row * halves);
    }
  }
  return b;
}
