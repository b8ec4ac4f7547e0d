/**
 * How a quantised matrix stands in a safetensors file; no other file knows.
 *
 *   NAME.codes   U32  [rows, words a row]                        pack.ts
 *   NAME.scales  F16  [rows, groups, 2] or [rows, groups, even]  pack.ts
 *   __metadata__      "format": "afpq", "layout": LAYOUT_VERSION, and for each matrix
 *                     "afpq:NAME": {"format", "group", "rows", "cols", "scaleExponent",
 *                                   "underflows", "dtype"}
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
import { type Format, format as formatOf } from "./format.ts";
import {
  codesShape,
  expectGroup,
  type Group,
  LAYOUT_VERSION,
  type PackedShape,
  type QuantizedMatrix,
  scalesShape,
} from "./pack.ts";
import type { SafetensorsFile, Tensor } from "./safetensors.ts";
import { show } from "./safetensors_header.ts";
import type { TensorSource } from "./safetensors_writer.ts";
import { parseStrictJson, quote } from "./strict_json.ts";

/** A quantised matrix as a file describes it; codes and scales are read when asked for. */
export interface PackedTensor extends PackedShape {
  /** Name of the source tensor. */
  readonly name: string;
  readonly scaleExponent: number;
  readonly underflows: number;
  /** What the source tensor was made of. */
  readonly dtype: FloatDtype;
  readonly codes: Tensor;
  readonly scales: Tensor;
}

const KEY = "afpq:";
const KEPT = "source:";

/** The two names that NAME stands under in a file. */
export function packedNames(name: string): { codes: string; scales: string } {
  return { codes: `${name}.codes`, scales: `${name}.scales` };
}

/** Bytes of codes and scales together. */
export function packedBytes(shape: PackedShape): number {
  return 4 * product(codesShape(shape)) + 2 * product(scalesShape(shape));
}

/** The two tensors to write for one matrix; `make` is called once, when its codes are asked for. */
export function packedSources(
  name: string,
  shape: PackedShape,
  make: () => Promise<QuantizedMatrix>,
): [codes: TensorSource, scales: TensorSource] {
  const names = packedNames(name);
  let scales: Uint16Array | null = null;
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
    dtype: "F16",
    shape: scalesShape(shape),
    bytes() {
      const bytes = bytesOf(scales!);
      scales = null;
      return bytes;
    },
  }];
}

/** What one matrix adds to `__metadata__`. */
export interface PackedFacts extends PackedShape {
  readonly name: string;
  readonly scaleExponent: number;
  readonly underflows: number;
  readonly dtype: FloatDtype;
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
    ...matrices.map((matrix) => [KEY + matrix.name, factsText(matrix)] as const),
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
  const { name, rows, cols, format, group, scaleExponent, underflows } = packed;
  const scales = await readScales(packed);
  const codes = new Uint32Array((await packed.codes.bytes()).buffer);
  return { name, rows, cols, format, group, scaleExponent, underflows, codes, scales };
}

/**
 * Reads the scales of a matrix and checks that the quantiser can have stored them.
 *
 * @throws {RangeError} if a scale is negative, infinite, NaN or subnormal
 */
export async function readScales(
  { scales: tensor }: PackedTensor,
): Promise<Uint16Array<ArrayBuffer>> {
  const scales = new Uint16Array((await tensor.bytes()).buffer);
  const bad = scales.findIndex((bits) => bits !== 0 && !(bits >= 0x0400 && bits < 0x7c00));
  if (bad < 0) return scales;
  throw new RangeError(
    `Cannot read ${quote(tensor.name)} ${show(tensor.shape)} of ${quote(tensor.file)} as f16 ` +
      `scales must be 0 or positive, normal and finite: got bits 0x${
        scales[bad].toString(16).padStart(4, "0")
      } at ${bad}`,
  );
}

function isOurs(key: string): boolean {
  return key === "format" || key === "layout" || key.startsWith(KEY) || key.startsWith(KEPT);
}

function factsText(facts: PackedFacts): string {
  const { format, group, rows, cols, scaleExponent, underflows, dtype } = facts;
  return JSON.stringify({
    format: format.name,
    group,
    rows,
    cols,
    scaleExponent,
    underflows,
    dtype,
  });
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
  const shape = claimedShape(name, text, fail);
  const names = packedNames(name);
  const expect = (tensorName: string, dtype: "U32" | "F16", wanted: number[]) => {
    const tensor = tensors.get(tensorName) ?? fail(`${quote(tensorName)} must be there`, "none");
    const got = `${tensor.dtype} ${show(tensor.shape)}`;
    const rule = `${quote(tensorName)} must be ${dtype} ${show(wanted)}`;
    return got === `${dtype} ${show(wanted)}` ? tensor : fail(rule, got);
  };
  const codes = expect(names.codes, "U32", codesShape(shape));
  const scales = expect(names.scales, "F16", scalesShape(shape));
  return { name, ...shape, codes, scales };
}

type Claims = Omit<PackedTensor, "name" | "codes" | "scales">;

/** What the metadata of one matrix claims, each number in its range. */
function claimedShape(
  name: string,
  text: string,
  fail: (rule: string, got: unknown) => never,
): Claims {
  const claims = parseStrictJson(new TextEncoder().encode(text), `the metadata of ${quote(name)}`);
  if (typeof claims !== "object" || claims === null || Array.isArray(claims)) {
    return fail("its metadata must be an object", text);
  }
  const integer = (key: string, least: number, most: number): number => {
    const value = claims[key];
    const fits = Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most;
    return fits ? value as number : fail(`${key} must be an integer in [${least}, ${most}]`, value);
  };
  const { dtype } = claims;
  if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") {
    return fail("dtype must be F32, F16 or BF16", dtype);
  }
  const rows = integer("rows", 1, 2 ** 40);
  const cols = integer("cols", 1, 2 ** 40);
  return {
    rows,
    cols,
    dtype,
    format: claimedFormat(claims.format, fail),
    group: claimedGroup(claims.group, fail),
    scaleExponent: integer("scaleExponent", -1000, 1000),
    underflows: integer("underflows", 0, 2 * rows * cols),
  };
}

function claimedFormat(name: unknown, fail: (rule: string, got: unknown) => never): Format {
  if (typeof name !== "string") return fail("format must be a name", name);
  try {
    return formatOf(name);
  } catch {
    return fail("format must be one that this version knows", quote(name));
  }
}

function claimedGroup(group: unknown, fail: (rule: string, got: unknown) => never): Group {
  try {
    expectGroup(group as Group);
    return group as Group;
  } catch {
    return fail(`group must be a power of two from 16 to 256, or "row"`, group);
  }
}

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

function bytesOf(array: Uint32Array | Uint16Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Bytes of a dense tensor [rows, cols]. */
export function denseBytes(rows: number, cols: number, dtype: FloatDtype): number {
  return rows * cols * DTYPE_BITS[dtype] / 8;
}
