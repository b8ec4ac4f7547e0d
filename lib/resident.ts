/**
 * Matrices that stay on the device: packed or dense, in slices of rows that fit one binding each, and
 * stacked where several of the same kind are multiplied with the same activations (q, k and v).
 *
 * A packed matrix goes up as it lies on disk. A dense one gets its rows padded with zeros to a
 * multiple of 8 columns, which is all the repacking there is. What a kernel must know of a slice
 * stands beside its buffers: the constants of its part, `weights` or `dense`.
 *
 * @module
 */

import { type ByteLevels, byteLevelsOf, commonByteLevels } from "./byte_levels.ts";
import type { Device } from "./device.ts";
import { f16Value, powerOfTwo } from "./float16.ts";
import { allocate, type Gpu, upload, write } from "./launch.ts";
import type { DenseMatrix, Matrix } from "./linear_reference.ts";
import type { PackedShape, QuantizedMatrix } from "./pack.ts";
import { largestCode, scaleFormatOf } from "./pack_scales.ts";
import { scaleStart } from "./scale_format.ts";

/** A run of rows of a matrix on the device. */
export interface Slice {
  readonly firstRow: number;
  readonly rows: number;
  readonly packed: boolean;
  /** Largest |level - zero| of packed weights, as kernels decode them. */
  readonly reach: number;
  /** Largest scale of packed weights as it is stored, of codes without their factor; for matrix units. */
  readonly largestScale: number;
  /** How levels become bytes; null unless the device multiplies bytes, and this matrix so. */
  readonly byteLevels: ByteLevels | null;
  /** Constants of the part `weights` or `dense`. */
  readonly constants: Record<string, number>;
  /** In the order of the kernels' bindings, those of W. */
  readonly buffers: readonly GPUBuffer[];
}

/** A matrix on the device, until `free()`; without a GPU there are no slices. */
export interface Loaded<M extends Matrix = Matrix> {
  readonly matrix: M;
  readonly slices: readonly Slice[];
  free(): void;
}

/** A matrix yet to be read. */
export interface MatrixSource {
  readonly rows: number;
  readonly cols: number;
  /** Equal for matrices that may lie in one buffer: format, group and exponent, or dtype. */
  readonly kind: string;
  read(): Promise<Matrix>;
}

/** The kind of a matrix, for {@linkcode MatrixSource}: what the constants and the codebook of a slice come from. */
export function kindOf(
  matrix: PackedShape & Pick<QuantizedMatrix, "scaleExponent" | "factor">,
): string {
  const { format, group, scaleExponent, scaleFormat, factor } = matrix;
  return [format.name, group, scaleExponent, scaleFormat?.name, factor].join(" ");
}

/** GPUBufferUsage.UNIFORM, which not every runtime has as a global. */
export const UNIFORM = 0x40;

/** A number that a group cannot be, which means the whole row: no column reaches it. */
const WHOLE_ROW = 2 ** 31;

/** Copies a matrix to the device, in slices of at most `mostRows` rows that fit one binding each. */
export async function load<M extends Matrix>(
  { gpu }: Device,
  matrix: M,
  mostRows = Infinity,
): Promise<Loaded<M>> {
  if (!gpu) return { matrix, slices: [], free() {} };
  const slices: Slice[] = [];
  const tensors = tensorsOf(matrix);
  const known = {
    largestScale: largestScaleOf(gpu, matrix),
    byteLevels: byteLevels(gpu, matrix),
    whole: hasWholeZeros(matrix),
  };
  const most = wholeWordRows(
    Math.min(mostRows, fittingRows(gpu, matrix, tensors)),
    tensors,
    matrix,
  );
  try {
    for (let firstRow = 0; firstRow < matrix.rows; firstRow += most) {
      const rows = Math.min(most, matrix.rows - firstRow);
      const buffers = await Promise.all(tensors.map((bytes) => {
        const stride = bytes.byteLength / matrix.rows;
        const part = bytes.subarray(firstRow * stride, (firstRow + rows) * stride);
        return upload(gpu, atLeast16(part));
      }));
      slices.push(await sliceOf(gpu, matrix, { firstRow, rows, buffers, ...known }));
    }
  } catch (error) {
    freeAll(slices);
    throw error;
  }
  return { matrix, slices, free: () => freeAll(slices) };
}

/**
 * Copies matrices of equal width to the device as one of all their rows, each read when its turn
 * comes. Of one kind and small enough they become one slice, otherwise slices of their own.
 */
export async function loadStack(
  device: Device,
  sources: readonly MatrixSource[],
): Promise<Slice[]> {
  const gpu = device.gpu!;
  const slices: Slice[] = [];
  let firstRow = 0;
  const alike = sources.every(({ kind }) => kind === sources[0].kind);
  const rows = sources.reduce((sum, source) => sum + source.rows, 0);
  const first = await sources[0].read();
  const tensors = tensorsOf(first);
  const inWords = sources.every(({ rows }) => wholeWordRows(rows, tensors, first) === rows);
  if (sources.length > 1 && alike && inWords && rows <= fittingRows(gpu, first, tensors)) {
    return [await stack(gpu, first, sources, rows)];
  }
  try {
    for (const source of sources) {
      const loaded = await load(device, source === sources[0] ? first : await source.read());
      slices.push(
        ...loaded.slices.map((slice) => ({ ...slice, firstRow: firstRow + slice.firstRow })),
      );
      firstRow += source.rows;
    }
  } catch (error) {
    freeAll(slices);
    throw error;
  }
  return slices;
}

async function stack(
  gpu: Gpu,
  first: Matrix,
  sources: readonly MatrixSource[],
  rows: number,
): Promise<Slice> {
  const strides = tensorsOf(first).map((bytes) => bytes.byteLength / first.rows);
  const buffers = await Promise.all(
    strides.map((stride) => allocate(gpu, Math.max(16, rows * stride))),
  );
  let row = 0, largestScale = 0, levels = byteLevels(gpu, first), whole = true;
  try {
    for (const source of sources) {
      const matrix = source === sources[0] ? first : await source.read();
      const tensors = tensorsOf(matrix);
      largestScale = Math.max(largestScale, largestScaleOf(gpu, matrix));
      levels = commonByteLevels(levels, byteLevels(gpu, matrix));
      whole &&= hasWholeZeros(matrix);
      for (const [i, bytes] of tensors.entries()) {
        await write(gpu, buffers[i], row * strides[i], bytes);
      }
      row += source.rows;
    }
  } catch (error) {
    for (const buffer of buffers) buffer.destroy();
    throw error;
  }
  const known = { largestScale, byteLevels: levels, whole };
  return await sliceOf(gpu, first, { firstRow: 0, rows, buffers, ...known });
}

/** A slice from its tensors' buffers: codes are bound twice, then scales and codebook. */
async function sliceOf(
  gpu: Gpu,
  matrix: Matrix,
  { whole, buffers, ...known }: Omit<Slice, "packed" | "reach" | "constants"> & { whole: boolean },
): Promise<Slice> {
  const { rows } = known;
  const constants = { ...constantsOf(gpu, matrix), ...(whole && { WHOLE: 1 }), ROWS: rows };
  const own = { ...known, constants };
  if (!("codes" in matrix)) return { ...own, packed: false, reach: 0, buffers };
  const [codes, scales] = buffers;
  const codebook = await upload(gpu, codebookOf(matrix), UNIFORM);
  const all = [codes, codes, scales, codebook];
  return { ...own, packed: true, reach: reachOf(matrix), buffers: all };
}

/** Largest |level - zero| as kernels decode them: levels of bit decodes come out times 2^-14. */
export function reachOf({ format: { grid, decode, scaling } }: QuantizedMatrix): number {
  const [low, high] = [grid[0], grid[grid.length - 1]];
  if (scaling === "zero-point") return high - low;
  return Math.max(-low, high) * (decode === "table" ? 1 : 2 ** -14);
}

/**
 * Largest scale as it is stored, whatever its sign; of codes without their factor. Matrix units alone
 * want it: for other devices scales are not gone through.
 */
function largestScaleOf({ features }: Gpu, matrix: Matrix): number {
  if (!("codes" in matrix) || !features.has("fragments")) return 0;
  const { bits, values } = scaleFormatOf(matrix);
  if (bits < 16) return values[largestCode(matrix)];
  const zeros = matrix.format.scaling === "zero-point";
  let most = 0;
  for (let i = 0; i < matrix.scales.length; i += zeros ? 2 : 1) {
    most = Math.max(most, matrix.scales[i] & 0x7fff);
  }
  return f16Value(most);
}

/** Which f16 are whole numbers, by their bits. */
let wholeBits: Uint8Array | undefined;

/** Whether codes are their own levels and have whole numbers subtracted, as our quantisers write them. */
function hasWholeZeros(matrix: Matrix): boolean {
  if (!("codes" in matrix) || matrix.format.scaling !== "zero-point") return false;
  const { scales } = matrix;
  if (scales instanceof Uint8Array) return true; // codes are the zero-points themselves
  wholeBits ??= Uint8Array.from(
    { length: 2 ** 16 },
    (_, b) => Number.isInteger(f16Value(b)) ? 1 : 0,
  );
  for (let i = 1; i < scales.length; i += 2) if (!wholeBits[scales[i]]) return false;
  return true;
}

/** How levels become bytes, on a device that multiplies those. */
function byteLevels({ features }: Gpu, matrix: Matrix): ByteLevels | null {
  return "codes" in matrix && features.has("bytes") ? byteLevelsOf(matrix) : null;
}

/** Bytes of codes and scales, or of dense weights. */
export function sliceBytes({ packed, buffers }: Slice): number {
  return packed ? buffers[0].size + buffers[2].size : buffers[0].size;
}

/** Destroys the buffers of slices. */
export function freeAll(slices: readonly Slice[]): void {
  for (const { buffers } of slices) for (const buffer of buffers) buffer.destroy();
}

/** Rows of a matrix that one binding holds. */
function fittingRows(gpu: Gpu, { rows }: Matrix, tensors: Uint8Array[]): number {
  const rowBytes = Math.max(1, ...tensors.map((bytes) => bytes.byteLength / Math.max(rows, 1)));
  return Math.floor(bindingBytes(gpu) / rowBytes);
}

/** At most `most` rows after which the tensors' next row starts at a whole word; all may be fewer. */
function wholeWordRows(most: number, tensors: Uint8Array[], { rows }: Matrix): number {
  const ragged = tensors.some((bytes) => bytes.byteLength / rows % 4 !== 0);
  return ragged && most < Infinity ? Math.max(4, most - most % 4) : most;
}

/** Bytes that one binding may have. */
export function bindingBytes({ device: { limits } }: Gpu): number {
  return Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
}

/** Bytes of a matrix, whole rows of equal length each: codes and scales, or dense weights. */
function tensorsOf(matrix: Matrix): Uint8Array[] {
  if (!("codes" in matrix)) return [wholeEights(matrix)];
  return [matrix.codes, matrix.scales].map(({ buffer, byteOffset, byteLength }) =>
    new Uint8Array(buffer, byteOffset, byteLength)
  );
}

/** Dense rows padded with zeros to a multiple of 8 columns. */
function wholeEights({ rows, cols, dtype, bytes }: DenseMatrix): Uint8Array {
  if (cols % 8 === 0) return bytes;
  const width = dtype === "F32" ? 4 : 2;
  const stride = width * Math.ceil(cols / 8) * 8;
  const padded = new Uint8Array(rows * stride);
  for (let row = 0; row < rows; row++) {
    padded.set(bytes.subarray(row * cols * width, (row + 1) * cols * width), row * stride);
  }
  return padded;
}

/** The smallest buffer that a vec4 can be read from. */
function atLeast16(bytes: Uint8Array): Uint8Array {
  if (bytes.length >= 16) return bytes;
  const padded = new Uint8Array(16);
  padded.set(bytes);
  return padded;
}

/** The uniform of kernels/parts/weights: levels [16], the factor of sums as two powers of two, and what scales share. */
function codebookOf({ format, scaleExponent, factor = 1 }: QuantizedMatrix): Float32Array {
  const exponent = (format.decode === "table" ? 0 : 14) - scaleExponent;
  const half = Math.trunc(exponent / 2);
  const book = new Float32Array(20);
  book.set(format.levels);
  book.set([powerOfTwo(half), powerOfTwo(exponent - half), factor], 16);
  return book;
}

/** Constants that a matrix gives the parts `weights` or `dense`, all but ROWS. */
function constantsOf(gpu: Gpu, matrix: Matrix): Record<string, number> {
  const common = { COLS: matrix.cols, F16_SUBNORMALS: gpu.f16Subnormals ? 1 : 0 };
  if (!("codes" in matrix)) {
    return { ...common, DTYPE: { F32: 0, F16: 1, BF16: 2 }[matrix.dtype] };
  }
  const { format: { bits, decode, scaling }, group } = matrix, scales = scaleFormatOf(matrix);
  return {
    ...common,
    GROUP: group === "row" ? WHOLE_ROW : group,
    BITS: bits,
    DECODE: { e2m1: 0, e2m0: 1, table: 2 }[decode],
    SCALING: { one: 0, two: 1, "zero-point": 2 }[scaling],
    ...(scales.bits < 16 && {
      SCALE_BITS: scales.bits,
      SCALE_SHIFT: 23 - scales.mantissa,
      SCALE_START: scaleStart(scales),
      ROW_FACTOR: scales.factor === "row" ? 1 : 0,
    }),
  };
}
