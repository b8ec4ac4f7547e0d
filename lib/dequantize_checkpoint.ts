/**
 * Turns a quantised checkpoint back into plain safetensors that any tool reads: source names,
 * source file names, source metadata; the config without `quantization_config`. Every weight is
 * level x scale, rounded once to f32 and once more to the dtype asked for, which is the source
 * tensor's own unless told; none becomes infinite. Everything else is carried over byte for byte.
 * Reads one matrix at a time and gives it out in runs of rows.
 *
 * @module
 */
import { join } from "node:path";
import { carriedFiles, carryFiles, configText, INDEX_NAME } from "./carry_over.ts";
import { indexText, outputName, writeTexts } from "./carry_over.ts";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import { removeQuantizationConfig } from "./checkpoint_config.ts";
import { BF16_MAX, F16_MAX, F32_MAX, type FloatDtype, narrow } from "./float16.ts";
import { createOutput } from "./output_folder.ts";
import { denseBytes, type PackedTensor, packedTensors } from "./packed_tensors.ts";
import { readPacked, sourceMetadata } from "./packed_tensors.ts";
import { rowTiles } from "./quantization_error.ts";
import { dequantize } from "./quantizer.ts";
import type { SafetensorsFile } from "./safetensors.ts";
import { type TensorSource, writeSafetensors } from "./safetensors_writer.ts";
import { quote } from "./strict_json.ts";

/** How to dequantise. */
export interface DequantizeOptions {
  /** What the weights become; unless told, what they were made from. */
  readonly dtype?: FloatDtype;
  readonly force?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (doneBytes: number, totalBytes: number, what: string) => void;
  readonly log?: (line: string) => void;
}

/** What was written. */
export interface DequantizeSummary {
  readonly path: string;
  readonly tensors: number;
  readonly weights: number;
  readonly bytes: number;
  readonly seconds: number;
}

/**
 * Dequantises a folder (or file) of ours into the folder `out`.
 *
 * @throws {Error} if there is nothing quantised in it, or `out` may not be written
 */
export async function dequantizeCheckpoint(
  path: string,
  out: string,
  options: DequantizeOptions = {},
): Promise<DequantizeSummary> {
  const start = performance.now();
  const checkpoint = await openCheckpoint(path);
  const packed = new Map(checkpoint.files.map((file) => [file, packedTensors(file)]));
  const matrices = [...packed.values()].flat();
  if (matrices.length === 0) {
    throw new Error(`Cannot dequantise ${quote(path)} as it must hold afpq tensors: got none`);
  }
  const plan = new Map(checkpoint.files.map((file) => {
    return [file, fileSources(file, packed.get(file)!, options.dtype)];
  }));
  const bytes = await plannedBytes(checkpoint, matrices, options.dtype);
  await using output = await createOutput(out, {
    sources: [path, ...checkpoint.files.map((file) => file.path)],
    force: options.force,
    bytesWanted: bytes,
    log: options.log,
  });
  await writeAll(checkpoint, plan, output.path, bytes, options);
  options.signal?.throwIfAborted();
  await output.commit();
  const weights = matrices.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const seconds = (performance.now() - start) / 1000;
  return { path: out, tensors: matrices.length, weights, bytes, seconds };
}

async function writeAll(
  checkpoint: Checkpoint,
  plan: ReadonlyMap<SafetensorsFile, TensorSource[]>,
  folder: string,
  totalBytes: number,
  { signal, onProgress }: DequantizeOptions,
): Promise<void> {
  let doneBytes = 0;
  const byName = new Map<string, TensorSource[]>();
  for (const [file, sources] of plan) {
    const name = outputName(checkpoint, file);
    byName.set(name, sources);
    await writeSafetensors(join(folder, name), sources, {
      metadata: sourceMetadata(file) ?? {},
      signal,
      onTensor: (tensor) => onProgress?.(doneBytes += tensor.bytes, totalBytes, tensor.name),
    });
  }
  await carryFiles(checkpoint, folder);
  const config = await configText(checkpoint);
  const dense = config === null ? null : removeQuantizationConfig(config);
  await writeTexts(folder, {
    "config.json": dense === null || Object.keys(JSON.parse(dense)).length === 0 ? null : dense,
    [INDEX_NAME]: await indexText(checkpoint, byName),
  });
}

/** What to write in place of one file: its matrices as plain tensors, then all else. */
function fileSources(
  file: SafetensorsFile,
  matrices: readonly PackedTensor[],
  dtype?: FloatDtype,
): TensorSource[] {
  const parts = new Set(matrices.flatMap(({ codes, scales }) => [codes, scales]));
  const dense = matrices.map((matrix) => denseSource(matrix, dtype ?? matrix.dtype));
  return [...dense, ...file.tensors.filter((tensor) => !parts.has(tensor))];
}

function denseSource(packed: PackedTensor, dtype: FloatDtype): TensorSource {
  return {
    name: packed.name,
    dtype,
    shape: [packed.rows, packed.cols],
    async *chunks() {
      for (const { firstRow, matrix } of rowTiles(await readPacked(packed))) {
        const weights = dequantize(matrix);
        keepFinite(weights, { packed, dtype, firstRow });
        yield narrow(weights, dtype);
      }
    },
  };
}

const LARGEST: Record<FloatDtype, number> = { F32: F32_MAX, F16: F16_MAX, BF16: BF16_MAX };
/** Quantising takes a weight at most half a step of a 3-bit integer, a seventh, past the largest. */
const OVERSHOOT = 8 / 7 + 0.001;

/** Ends at the largest of `dtype` what rounding took past it; refuses what was never in its range. */
function keepFinite(
  weights: Float32Array,
  { packed, dtype, firstRow }: { packed: PackedTensor; dtype: FloatDtype; firstRow: number },
): void {
  const largest = LARGEST[dtype];
  const narrows = dtype === "F16" && packed.dtype !== "F16"; // the others reach equally far
  for (let i = 0; i < weights.length; i++) {
    const size = Math.abs(weights[i]);
    if (size <= largest) continue;
    if (narrows && size > largest * OVERSHOOT) {
      const { name, rows, cols } = packed;
      const at = `[${firstRow + Math.floor(i / cols)}, ${i % cols}]`;
      throw new RangeError(
        `Cannot dequantise ${
          quote(name)
        } [${rows}, ${cols}] as ${dtype} weights must be at most ${largest}: got ${
          weights[i]
        } at ${at}`,
      );
    }
    weights[i] = Math.sign(weights[i]) * largest;
  }
}

/** Bytes of the files to write, without headers and JSON text. */
async function plannedBytes(
  checkpoint: Checkpoint,
  matrices: readonly PackedTensor[],
  dtype?: FloatDtype,
): Promise<number> {
  let bytes = [...(await carriedFiles(checkpoint)).values()].reduce((a, b) => a + b, 0);
  for (const { begin, end } of checkpoint.tensors.values()) bytes += end - begin;
  for (const { rows, cols, codes, scales, dtype: source } of matrices) {
    bytes += denseBytes(rows, cols, dtype ?? source);
    bytes -= codes.end - codes.begin + scales.end - scales.begin;
  }
  return bytes;
}
