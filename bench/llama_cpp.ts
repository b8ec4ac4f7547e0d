/**
 * llama.cpp's own quantisers, to be held beside ours: the compiled ggml of an npm package (llama.cpp
 * v0.5.0), called through the runtime's FFI.
 *
 *   ggml_quantize_chunk(type, W, blocks, 0, rows, cols, NULL)   W [rows, cols] -> blocks, bytes of them
 *   dequantize_row_TYPE(blocks, W', rows x cols)                and back
 *
 * A block is 32 or 256 columns of one row, with all that belongs to them: codes, scales, minima. NULL
 * stands for the importance matrix, so that nothing is calibrated. llama.cpp gives a row that does not
 * fill whole blocks another type; here it is refused.
 *
 * Linux on x64 with glibc alone, which is what the package is for.
 *
 * @module
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { openLibrary } from "../lib/native.ts";
import { locateNpm } from "../lib/npm.ts";
import { quote } from "../lib/strict_json.ts";

/** A type of ggml.h: its number there, and what a block of it is. */
export interface GgmlType {
  readonly id: number;
  readonly columns: number;
  readonly bytes: number;
  /** The function that dequantises it. */
  readonly dequantiser: string;
}

/** The types that take 3 to 4.5 bits a weight, by their names, cheapest first. */
export const ggmlTypes = {
  IQ3_XXS: { id: 18, columns: 256, bytes: 98, dequantiser: "dequantize_row_iq3_xxs" },
  Q3_K: { id: 11, columns: 256, bytes: 110, dequantiser: "dequantize_row_q3_K" },
  IQ3_S: { id: 21, columns: 256, bytes: 110, dequantiser: "dequantize_row_iq3_s" },
  MXFP4: { id: 39, columns: 32, bytes: 17, dequantiser: "dequantize_row_mxfp4" },
  IQ4_XS: { id: 23, columns: 256, bytes: 136, dequantiser: "dequantize_row_iq4_xs" },
  Q4_0: { id: 2, columns: 32, bytes: 18, dequantiser: "dequantize_row_q4_0" },
  IQ4_NL: { id: 20, columns: 32, bytes: 18, dequantiser: "dequantize_row_iq4_nl" },
  Q4_K: { id: 12, columns: 256, bytes: 144, dequantiser: "dequantize_row_q4_K" },
} as const satisfies Record<string, GgmlType>;

/** A name of {@linkcode ggmlTypes}. */
export type GgmlName = keyof typeof ggmlTypes;

/** A matrix W [rows, cols] as a type is to have it; `name` is for errors. */
export interface GgmlShape {
  readonly rows: number;
  readonly cols: number;
  readonly type: GgmlName;
  readonly name?: string;
}

/** The opened library. */
export interface Ggml {
  /**
   * Blocks of W [rows, cols], all that a file would hold of it.
   *
   * @throws {TypeError} if `w` does not hold rows x cols numbers
   * @throws {RangeError} if rows do not fill blocks, or a weight is not finite
   */
  quantize(w: Float32Array<ArrayBuffer>, shape: GgmlShape): Uint8Array<ArrayBuffer>;
  /** W' [rows, cols] of such blocks. */
  dequantize(blocks: Uint8Array<ArrayBuffer>, shape: GgmlShape): Float32Array<ArrayBuffer>;
}

/** Bits a weight, everything counted. */
export function ggmlBits(type: GgmlName): number {
  return 8 * ggmlTypes[type].bytes / ggmlTypes[type].columns;
}

/** Whether rows of so many columns fill blocks of a type. */
export function fillsBlocks(cols: number, type: GgmlName): boolean {
  return cols % ggmlTypes[type].columns === 0;
}

const ROW = ["buffer", "buffer", "i64"] as const;

/**
 * Opens ggml out of the npm package, which Deno fetches where it is not there yet.
 *
 * @throws {Error} on other machines than Linux on x64, and without package or FFI, in one line
 */
export async function openGgml(): Promise<Ggml> {
  const { platform, arch } = process;
  if (platform !== "linux" || arch !== "x64") {
    throw new Error(`Cannot open ggml as it is for Linux on x64: got ${platform} on ${arch}`);
  }
  const entry = await locateNpm("@node-llama-cpp/linux-x64");
  const path = fileURLToPath(new URL("../bins/linux-x64/libggml-base.so", entry));
  const all = Object.values(ggmlTypes);
  const c = await openLibrary(path, {
    ggml_quantize_chunk: ["i32", "buffer", "buffer", "i64", "i64", "i64", "buffer"],
    ggml_blck_size: ["i32"],
    ggml_type_size: ["i32"],
    ...Object.fromEntries(all.map(({ dequantiser }) => [dequantiser, [...ROW]])),
  });
  for (const { id, columns, bytes } of all) {
    const got = [c.ggml_blck_size(id), c.ggml_type_size(id)];
    if (got[0] === columns && got[1] === bytes) continue;
    throw new Error(
      `Cannot use ggml as a block of type ${id} must be ${columns} columns in ${bytes} bytes: got ${
        got.join(" in ")
      }`,
    );
  }
  return {
    quantize(w, shape) {
      expectMatrix(w, shape);
      const { rows, cols, type } = shape;
      const { id, columns, bytes } = ggmlTypes[type];
      const blocks = new Uint8Array(w.length / columns * bytes);
      const written = c.ggml_quantize_chunk(id, bytesOf(w), blocks, 0, rows, cols, null);
      if (written === blocks.length) return blocks;
      throw new Error(`Cannot use ggml as it must write ${blocks.length} bytes: got ${written}`);
    },
    dequantize(blocks, { rows, cols, type }) {
      const { columns, bytes, dequantiser } = ggmlTypes[type];
      if (blocks.length * columns !== rows * cols * bytes) {
        throw new TypeError(
          `Cannot dequantise [${rows}, ${cols}] as blocks of ${type} must be ${
            rows * cols * bytes / columns
          } bytes: got ${blocks.length}`,
        );
      }
      const w = new Float32Array(rows * cols);
      c[dequantiser](blocks, bytesOf(w), w.length);
      return w;
    },
  };
}

/** The bytes of numbers, as C functions take them. */
export function bytesOf({ buffer, byteOffset, byteLength }: Float32Array<ArrayBuffer>) {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function expectMatrix(w: Float32Array, { rows, cols, type, name = "" }: GgmlShape): void {
  const what = `Cannot quantise ${quote(name)} [${rows}, ${cols}] to ${type} as`;
  if (w.length !== rows * cols) {
    throw new TypeError(`${what} W must hold ${rows * cols} numbers: got ${w.length}`);
  }
  if (!fillsBlocks(cols, type)) {
    const { columns } = ggmlTypes[type];
    throw new RangeError(`${what} columns must be a multiple of ${columns}: got ${cols}`);
  }
  const at = w.findIndex((weight) => !Number.isFinite(weight));
  if (at >= 0) throw new RangeError(`${what} weights must be finite: got ${w[at]}`);
}
