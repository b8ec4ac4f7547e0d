/**
 * What a safetensors file or folder holds, dense or quantised, from its headers alone: no tensor is
 * read.
 *
 * Tensors are told as the files have them, with dtype, shape and byte offsets; those that are part
 * of a quantised matrix also say of which (`source`), in which format and group, and what a weight
 * of it costs. `quantized` lists the matrices themselves under their source names.
 *
 * @module
 */
import { relative } from "node:path";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import type { Shape } from "./dtype.ts";
import type { Group } from "./pack.ts";
import { storedBits } from "./pack_scales.ts";
import { type PackedTensor, packedTensors } from "./packed_tensors.ts";

/** A tensor; offsets are bytes in its file's data, extents above 2^53 - 1 are strings. */
export interface InspectedTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly (number | string)[];
  /** Relative to the checkpoint's folder. */
  readonly file: string;
  readonly begin: number;
  readonly end: number;
  /** Of tensors that are part of a quantised matrix: its source name. */
  readonly source?: string;
  readonly format?: string;
  readonly group?: Group;
  readonly bitsPerWeight?: number;
}

/** A quantised matrix W [rows, cols] under its source name. */
export interface InspectedMatrix {
  readonly name: string;
  readonly dtype: string;
  readonly rows: number;
  readonly cols: number;
  readonly format: string;
  readonly group: Group;
  readonly bitsPerWeight: number;
  readonly scaleExponent: number;
  readonly underflows: number;
  /** Storage of its scales, where they are codes. */
  readonly scales?: string;
}

/** What is there; the last four only of what is quantised, format and group where uniform. */
export interface Inspection {
  readonly path: string;
  /** `__metadata__` of the files together, null where none has any. */
  readonly metadata: Readonly<Record<string, string>> | null;
  readonly tensors: readonly InspectedTensor[];
  readonly quantized?: readonly InspectedMatrix[];
  readonly bitsPerWeight?: number;
  readonly format?: string;
  readonly group?: Group;
}

/**
 * Describes a file, an index or a folder.
 *
 * @throws as openCheckpoint, and where packed metadata does not fit its tensors
 */
export async function inspectCheckpoint(path: string): Promise<Inspection> {
  const checkpoint = await openCheckpoint(path);
  const matrices = checkpoint.files.flatMap(packedTensors);
  const tensors = inspectedTensors(checkpoint, matrices);
  const metadata = mergedMetadata(checkpoint);
  if (matrices.length === 0) return { path, metadata, tensors };
  const weights = matrices.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const bits = matrices.reduce((sum, matrix) => sum + storedBits(matrix), 0);
  return {
    path,
    metadata,
    tensors,
    quantized: matrices.map(inspectedMatrix),
    bitsPerWeight: bits / weights,
    ...uniform("format", matrices.map(({ format }) => format.name)),
    ...uniform("group", matrices.map(({ group }) => group)),
  };
}

function inspectedTensors(
  { files, folder }: Checkpoint,
  matrices: readonly PackedTensor[],
): InspectedTensor[] {
  const matrixOf = new Map(matrices.flatMap((matrix) => [
    [matrix.codes, matrix],
    [matrix.scales, matrix],
  ]));
  return files.flatMap((file) => {
    const fileName = relative(folder, file.path);
    return file.tensors.map((tensor) => {
      const { name, dtype, shape, begin, end } = tensor;
      const entry = { name, dtype, shape: told(shape), file: fileName, begin, end };
      const matrix = matrixOf.get(tensor);
      if (!matrix) return entry;
      const { format, group, bitsPerWeight } = inspectedMatrix(matrix);
      return { ...entry, source: matrix.name, format, group, bitsPerWeight };
    });
  });
}

/** A shape that JSON can hold. */
function told(shape: Shape): readonly (number | string)[] {
  const isSmall = shape.every((extent) => typeof extent === "number");
  return isSmall ? shape as number[] : shape.map((extent) => {
    return typeof extent === "bigint" ? String(extent) : extent;
  });
}

function inspectedMatrix(matrix: PackedTensor): InspectedMatrix {
  const { name, dtype, rows, cols, format, group, scaleExponent, underflows } = matrix;
  const bitsPerWeight = storedBits(matrix) / (rows * cols);
  return {
    name,
    dtype,
    rows,
    cols,
    format: format.name,
    group,
    bitsPerWeight,
    scaleExponent,
    underflows,
    ...(matrix.scaleFormat && { scales: matrix.scaleFormat.name }),
  };
}

/** One entry where all values are the same, none otherwise. */
function uniform<T>(key: string, values: readonly T[]): Record<string, T> {
  return values.every((value) => value === values[0]) ? { [key]: values[0] } : {};
}

function mergedMetadata({ files }: Checkpoint): Record<string, string> | null {
  const all = files.flatMap(({ metadata }) => Object.entries(metadata ?? {}));
  return files.some(({ metadata }) => metadata !== null) ? Object.fromEntries(all) : null;
}
