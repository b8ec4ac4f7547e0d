/**
 * How a quantised matrix stands in a safetensors file; no other file knows.
 *
 *   NAME.codes   U32  [rows, words a row]                        pack.ts
 *   NAME.scales  F16  [rows, groups, 2] or [rows, groups, even]  pack_scales.ts
 *                U8   [rows, bytes a row] where they are codes
 *   __metadata__      "format": "afpq", "layout": LAYOUT_VERSION, and for each matrix
 *                     "afpq:NAME": {"format", "group", "rows", "cols", "scaleExponent",
 *                                   "underflows", "dtype"}, of coded scales also "scales", and
 *                                   "factor" where the tensor has one
 *
 * NAME is the source tensor's full name, `dtype` what it was made from. Metadata of the source
 * stays; its entries that would collide with ours move to "source:KEY" and come back when the
 * checkpoint is dequantised. A file of another layout is refused by its version, and everything the
 * metadata claims is checked against the tensors before a byte is used: it may be a stranger's.
 *
 * @module
 */
import { DTYPE_BITS } from "./dtype.ts";
import type { FloatDtype } from "./float16.ts";
import {
  codesShape,
  groupsPerRow,
  LAYOUT_VERSION,
  type PackedShape,
  type QuantizedMatrix,
} from "./pack.ts";
import { codesStart, scaleBytes, scaleFormatOf, scalesShape } from "./pack_scales.ts";
import { claimsText, type PackedClaims, readClaims } from "./packed_claims.ts";
import type { SafetensorsFile, Tensor } from "./safetensors.ts";
import { show } from "./safetensors_header.ts";
import type { TensorSource } from "./safetensors_writer.ts";
import { quote } from "./strict_json.ts";

/** A quantised matrix as a file describes it; codes and scales are read when asked for. */
export interface PackedTensor extends PackedClaims {
  /** Name of the source tensor. */
  readonly name: string;
  readonly codes: Tensor;
  readonly scales: Tensor;
}

const KEY = "afpq:";
const KEPT = "source:";

/** The two names that NAME stands under in a file. */
export function packedNames(name: string): { codes: string; scales: string } {
  return { codes: `${name}.codes`, scales: `${name}.scales` };
}

/** The two tensors to write for one matrix; `make` is called once, when its codes are asked for. */
export function packedSources(
  name: string,
  shape: PackedShape,
  make: () => Promise<QuantizedMatrix>,
): [codes: TensorSource, scales: TensorSource] {
  const names = packedNames(name);
  let scales: QuantizedMatrix["scales"] | null = null;
  return [{
    name: names.codes,
    dtype: "U32",
    shape: codesShape(shape),
    async bytes() {
      const q = await make();
      scales = q.scales;
      return bytesOf(q.codes);
    },
  }, {
    name: names.scales,
    dtype: scaleBytes(shape) === 1 ? "U8" : "F16",
    shape: scalesShape(shape),
    bytes() {
      const bytes = bytesOf(scales!);
      scales = null;
      return bytes;
    },
  }];
}

/** What one matrix adds to `__metadata__`. */
export interface PackedFacts extends PackedClaims {
  readonly name: string;
}

/** `__metadata__` of a file that holds these matrices and was made from one with `source`. */
export function packedMetadata(
  source: Readonly<Record<string, string>> | null,
  matrices: readonly PackedFacts[],
): Record<string, string> {
  const kept = Object.entries(source ?? {}).map(([key, value]) =>
    [isOurs(key) ? KEPT + key : key, value] as const
  );
  return Object.fromEntries([
    ["format", "afpq"],
    ["layout", String(LAYOUT_VERSION)],
    ...kept,
    ...matrices.map((matrix) => [KEY + matrix.name, claimsText(matrix)] as const),
  ]);
}

/** `__metadata__` of the file that a quantised one came from. */
export function sourceMetadata(file: SafetensorsFile): Record<string, string> | null {
  if (!isPacked(file)) return file.metadata;
  const entries = Object.entries(file.metadata!).flatMap(([key, value]) => {
    if (!isOurs(key)) return [[key, value]];
    return key.startsWith(KEPT) ? [[key.slice(KEPT.length), value]] : [];
  });
  return entries.length > 0 ? Object.fromEntries(entries) : null;
}

/** Most header bytes that {@linkcode packedMetadata} takes, with its key, colon and comma. */
export function metadataRoom(
  source: Readonly<Record<string, string>> | null,
  matrices: readonly Omit<PackedFacts, "scaleExponent" | "underflows">[],
): number {
  const widest = matrices.map((matrix) => ({
    ...matrix,
    scaleExponent: -9999,
    underflows: Number.MAX_SAFE_INTEGER,
    ...(matrix.scaleFormat?.factor === "tensor" && { factor: 1.1111111111 }),
  }));
  const json = JSON.stringify(packedMetadata(source, widest));
  return new TextEncoder().encode(`"__metadata__":${json},`).length;
}

/** Whether a file says that it holds quantised matrices of ours. */
export function isPacked(file: SafetensorsFile): boolean {
  return file.metadata?.format === "afpq" && file.metadata.layout !== undefined;
}

/**
 * The quantised matrices of a file, in the order of its metadata; none in a dense file.
 *
 * @throws {RangeError} if the layout's version is another, or a claim is out of range
 * @throws {TypeError} if the tensors are not of the claimed shapes
 */
export function packedTensors(file: SafetensorsFile): PackedTensor[] {
  if (!isPacked(file)) return [];
  const { layout } = file.metadata!;
  if (layout !== String(LAYOUT_VERSION)) {
    throw new RangeError(
      `Cannot read ${quote(file.path)} as its packed layout must be version ${LAYOUT_VERSION}: ` +
        `got ${quote(layout)}`,
    );
  }
  const byName = new Map(file.tensors.map((tensor) => [tensor.name, tensor]));
  return Object.entries(file.metadata!).filter(([key]) => key.startsWith(KEY))
    .map(([key, text]) => packedTensor(file.path, key.slice(KEY.length), text, byName));
}

/**
 * Reads a quantised matrix.
 *
 * @throws {RangeError} as {@linkcode readScales}
 */
export async function readPacked(packed: PackedTensor): Promise<QuantizedMatrix> {
  const { codes: tensor, dtype: _, ...facts } = packed;
  const scales = await readScales(packed);
  const codes = new Uint32Array((await tensor.bytes()).buffer);
  return { ...facts, codes, scales };
}

/**
 * Reads the scales of a matrix and checks that the quantiser can have stored them.
 *
 * @throws {RangeError} if a scale is negative, infinite, NaN or subnormal
 */
export async function readScales(packed: PackedTensor): Promise<QuantizedMatrix["scales"]> {
  const { scales: tensor } = packed, bytes = await tensor.bytes();
  if (scaleBytes(packed) === 1) {
    refuseCodes(packed, bytes);
    return bytes;
  }
  const scales = new Uint16Array(bytes.buffer);
  const bad = scales.findIndex((bits) => !isScale(bits));
  if (bad >= 0) refuseScale(tensor, "f16 scales", scales[bad], bad);
  return scales;
}

/** Whether f16 bits are 0, or of a positive, normal and finite number. */
function isScale(bits: number): boolean {
  return bits === 0 || (bits >= 0x0400 && bits < 0x7c00);
}

function refuseScale(tensor: Tensor, what: string, bits: number, at: number): never {
  throw new RangeError(
    `Cannot read ${quote(tensor.name)} ${show(tensor.shape)} of ${quote(tensor.file)} as ${what} ` +
      `must be 0 or positive, normal and finite: got bits 0x${
        bits.toString(16).padStart(4, "0")
      } at ${at}`,
  );
}

/** Refuses factors of rows that are no scale, and codes that stand for none (e8m0's 0 and 255). */
function refuseCodes(packed: PackedTensor, bytes: Uint8Array): void {
  const { rows, scales: tensor, format } = packed, coded = scaleFormatOf(packed);
  const stride = bytes.length / rows, start = codesStart(coded);
  for (let row = 0; start > 0 && row < rows; row++) {
    const factor = bytes[row * stride] | bytes[row * stride + 1] << 8;
    if (!isScale(factor)) refuseScale(tensor, "factors of rows", factor, row * stride);
  }
  if (coded.bits - coded.mantissa < 8) return;
  const step = format.scaling === "zero-point" ? 2 : 1;
  const last = format.scaling === "one" ? groupsPerRow(packed) : 2 * groupsPerRow(packed);
  for (let row = 0; row < rows; row++) {
    for (let at = row * stride + start; at < row * stride + start + last; at += step) {
      if (bytes[at] === 0 || bytes[at] === 255) {
        refuseScale(tensor, "codes of scales", bytes[at], at);
      }
    }
  }
}

function isOurs(key: string): boolean {
  return key === "format" || key === "layout" || key.startsWith(KEY) || key.startsWith(KEPT);
}

function packedTensor(
  file: string,
  name: string,
  text: string,
  tensors: ReadonlyMap<string, Tensor>,
): PackedTensor {
  const fail = (rule: string, got: unknown): never => {
    throw new RangeError(
      `Cannot read ${quote(name)} of ${quote(file)} as ${rule}: got ${
        typeof got === "string" ? got : JSON.stringify(got)
      }`,
    );
  };
  const shape = readClaims(name, text, fail);
  const names = packedNames(name);
  const expect = (tensorName: string, dtype: "U32" | "F16" | "U8", wanted: number[]) => {
    const tensor = tensors.get(tensorName) ?? fail(`${quote(tensorName)} must be there`, "none");
    const got = `${tensor.dtype} ${show(tensor.shape)}`;
    const rule = `${quote(tensorName)} must be ${dtype} ${show(wanted)}`;
    return got === `${dtype} ${show(wanted)}` ? tensor : fail(rule, got);
  };
  const codes = expect(names.codes, "U32", codesShape(shape));
  const scales = expect(names.scales, scaleBytes(shape) === 1 ? "U8" : "F16", scalesShape(shape));
  return { name, ...shape, codes, scales };
}

function bytesOf(array: Uint32Array | Uint16Array | Uint8Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Bytes of a dense tensor [rows, cols]. */
export function denseBytes(rows: number, cols: number, dtype: FloatDtype): number {
  return rows * cols * DTYPE_BITS[dtype] / 8;
}
