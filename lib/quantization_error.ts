/**
 * How far a quantised matrix is from the weights it was made from, summed in f64, some rows at a
 * time.
 *
 *   nmse          sum((w' - w)^2) / sum(w^2)    0 where w is all zero and w' too
 *   largestError  max |w' - w|
 *
 * @module
 */
import { codesShape, type QuantizedMatrix } from "./pack.ts";
import { scalesShape } from "./pack_scales.ts";
import { dequantize } from "./quantizer.ts";

/** Sums over one matrix; sums of several matrices add up. */
export interface QuantizationError {
  /** sum((w' - w)^2) */
  readonly squaredError: number;
  /** sum(w^2) */
  readonly squaredWeights: number;
  /** max |w' - w| */
  readonly largestError: number;
}

/** Weights dequantised at once. */
const TILE_WEIGHTS = 1 << 18;

/** Error of W' [rows, cols] against w [rows, cols]. */
export function quantizationError(q: QuantizedMatrix, w: Float32Array): QuantizationError {
  let [squaredError, squaredWeights, largestError] = [0, 0, 0];
  for (const { firstRow, matrix } of rowTiles(q)) {
    const dequantized = dequantize(matrix);
    const offset = firstRow * q.cols;
    for (let i = 0; i < dequantized.length; i++) {
      const weight = w[offset + i];
      const error = Math.abs(dequantized[i] - weight);
      squaredError += error * error;
      squaredWeights += weight * weight;
      if (error > largestError) largestError = error;
    }
  }
  return { squaredError, squaredWeights, largestError };
}

/** Relative mean square error: 0 where nothing was lost, also of nothing. */
export function nmseOf(
  { squaredError, squaredWeights }: Omit<QuantizationError, "largestError">,
): number {
  return squaredError === 0 ? 0 : squaredError / squaredWeights;
}

/** The error of several matrices as of one. */
export function sumErrors(errors: readonly QuantizationError[]): QuantizationError {
  return errors.reduce((sum, error) => ({
    squaredError: sum.squaredError + error.squaredError,
    squaredWeights: sum.squaredWeights + error.squaredWeights,
    largestError: Math.max(sum.largestError, error.largestError),
  }), { squaredError: 0, squaredWeights: 0, largestError: 0 });
}

/** A matrix in runs of whole rows that share its memory. */
export function* rowTiles(
  q: QuantizedMatrix,
): Generator<{ firstRow: number; matrix: QuantizedMatrix }> {
  const rowsAtOnce = Math.max(1, Math.floor(TILE_WEIGHTS / q.cols));
  const words = codesShape(q)[1];
  const halves = scalesShape(q).slice(1).reduce((a, b) => a * b);
  for (let firstRow = 0; firstRow < q.rows; firstRow += rowsAtOnce) {
    const rows = Math.min(rowsAtOnce, q.rows - firstRow);
    const codes = q.codes.subarray(firstRow * words, (firstRow + rows) * words);
    const scales = q.scales.subarray(firstRow * halves, (firstRow + rows) * halves);
    yield { firstRow, matrix: { ...q, rows, codes, scales } };
  }
}
