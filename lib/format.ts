/**
 * A number format is data: the levels that codes stand for, how a kernel turns a code into its level,
 * and how many parameters a group of weights carries. Nothing else in the toolkit knows formats by
 * name, so a new codebook is one literal and one line in `GRIDS`.
 *
 *   -sym    one scale a group                                     w = level s
 *   -asym   AFPQ, a scale for each side                           w = level s_pos | level s_neg
 *           for integers, in the paper's words, a zero-point      w = (level - z) s
 *
 * Two things are made of these: `custom:` levels, and `fp4+5` or `fp3-6`, where the code of -0, which
 * says nothing that 0 does not, stands for one value more; kernels then look all levels up.
 *
 * Codes of `e2m1` and `e2m0` are sign and magnitude, so that kernels move their bits into an f16
 * instead of looking anything up; both zeros are 0 and the quantiser writes only +0. All other
 * codes are the index in the ascending table.
 *
 * @module
 */

import {
  AF4_128,
  AF4_32,
  AF4_64,
  BOF4,
  BOF4S_128,
  BOF4S_64,
  cubicLevels,
  E2M0_MAGNITUDES,
  E2M1_MAGNITUDES,
  floatMagnitudes,
  INT3,
  INT4,
  LLOYD3,
  LLOYD4_128,
  LLOYD4_16,
  LLOYD4_32,
  LLOYD4_64,
  NF3,
  NF4,
  SF4,
  UINT3,
  UINT4,
} from "./codebook.ts";
import { f16Bits, f16Value } from "./float16.ts";

/** How a code becomes its level: by moving bits, or by a table. */
export type Decode = "e2m1" | "e2m0" | "table";

/** Parameters of a group: a scale, a scale a side, or a scale and a zero-point. */
export type Scaling = "one" | "two" | "zero-point";

/** A number format. */
export interface Format {
  /** Canonical name, such as `nf4-asym`; {@linkcode format} gives the same format back. */
  readonly name: string;
  readonly bits: 3 | 4;
  readonly scaling: Scaling;
  readonly decode: Decode;
  /** Levels by code, [2^bits]; codes beyond the codebook repeat its last level. */
  readonly levels: Float32Array<ArrayBuffer>;
  /** Distinct levels, ascending, [n]. */
  readonly grid: Float32Array<ArrayBuffer>;
  /** Code of each level of the grid, [n]. */
  readonly codes: Uint8Array<ArrayBuffer>;
  /** Code that stands for 0, or 0 where the codebook has no zero. */
  readonly zeroCode: number;
  /** Whether codes are rounded as integers: round(w / s) counted from the zero code. */
  readonly integer: boolean;
}

/** Levels ascending, or magnitudes for sign-and-magnitude codes; `unsigned` goes with a zero-point. */
interface Grid {
  decode: Decode;
  one: readonly number[];
  unsigned?: readonly number[];
}

/** Grids by family name: here a new codebook is added. */
const GRIDS: Record<string, Grid> = {
  int4: { decode: "table", one: INT4, unsigned: UINT4 },
  int3: { decode: "table", one: INT3, unsigned: UINT3 },
  fp4: { decode: "e2m1", one: E2M1_MAGNITUDES },
  fp3: { decode: "e2m0", one: E2M0_MAGNITUDES },
  nf4: { decode: "table", one: NF4 },
  nf3: { decode: "table", one: NF3 },
  sf4: { decode: "table", one: SF4 },
  af4g32: { decode: "table", one: AF4_32 },
  af4g64: { decode: "table", one: AF4_64 },
  af4g128: { decode: "table", one: AF4_128 },
  bof4: { decode: "table", one: BOF4 },
  bof4sg64: { decode: "table", one: BOF4S_64 },
  bof4sg128: { decode: "table", one: BOF4S_128 },
  lloyd4g16: { decode: "table", one: LLOYD4_16 },
  lloyd4g32: { decode: "table", one: LLOYD4_32 },
  lloyd4g64: { decode: "table", one: LLOYD4_64 },
  lloyd4g128: { decode: "table", one: LLOYD4_128 },
  lloyd3: { decode: "table", one: LLOYD3 },
  cubic4: { decode: "table", one: cubicLevels(-7, 16, 128) },
  cubic3: { decode: "table", one: cubicLevels(-3.5, 8, 32) },
};

/** The families of the paper: what `formatNames` lists, and what examples and tests go through. */
const PAPERS = ["int4", "int3", "fp4", "fp3", "nf4", "nf3"];

/** The paper's formats, `int4-sym` to `nf3-asym`. */
export const formatNames: readonly string[] = PAPERS.flatMap(withSides);

/** The other named formats, `sf4-sym` to `cubic3-asym`. */
export const moreFormatNames: readonly string[] = Object.keys(GRIDS)
  .filter((family) => !PAPERS.includes(family)).flatMap(withSides);

function withSides(family: string): string[] {
  return [`${family}-sym`, `${family}-asym`];
}

/**
 * The format of a name: one of {@linkcode formatNames} or {@linkcode moreFormatNames},
 * `eXmY-sym|asym`, or
 * `custom:NUMBER,NUMBER,...-sym|asym` with up to 16 numbers.
 *
 * @throws {RangeError} if there is no such format; the message lists those there are
 *
 * @example Usage
 * ```ts
 * import { format } from "./format.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(format("nf4-asym").scaling, "two");
 * assert.deepEqual([...format("custom:-1,0,2-sym").grid], [-1, 0, 2]);
 * ```
 */
export function format(name: string): Format {
  const lower = name.toLowerCase();
  const [, family, side] = /^(.*)-(sym|asym)$/.exec(lower) ?? [];
  const symmetric = side === "sym";
  const grid = Object.hasOwn(GRIDS, family ?? "") ? GRIDS[family] : undefined;
  if (grid?.unsigned && !symmetric) return build(lower, "table", grid.unsigned, "zero-point");
  if (grid) return build(lower, grid.decode, grid.one, symmetric ? "one" : "two");
  const special = /^(fp[34])([-+](?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)$/.exec(family ?? "");
  if (special) return specialFormat(special[1], Number(special[2]), { symmetric });
  const float = /^e(\d)m(\d)$/.exec(family ?? "");
  if (float) return exMy(Number(float[1]), Number(float[2]), { symmetric });
  if (family?.startsWith("custom:")) return customFormat(numbers(name, family), { symmetric });
  const isFamily = side === undefined && isFormat(`${name}-asym`);
  throw new RangeError(
    `Cannot read "${name}" as a format must be one of ${formatNames.join(", ")}, ` +
      `sf4|af4gN|bof4|bof4sgN|lloyd4gN|lloyd3|cubic4|cubic3-sym|asym, ` +
      `fp4+VALUE-sym|asym, eXmY-sym|asym or custom:NUMBERS-sym|asym` +
      (isFamily ? `; did you mean "${lower}-asym"?` : ""),
  );
}

function isFormat(name: string): boolean {
  try {
    return format(name).name !== "";
  } catch {
    return false;
  }
}

/**
 * A format from any 2 to 16 levels, in any order; up to 8 levels take 3 bits. `symmetric` gives one
 * scale a group, otherwise a scale for each side.
 *
 * @throws {RangeError} if a level is not finite or given twice, or their count is out of range
 */
export function customFormat(
  levels: Iterable<number>,
  { symmetric = false }: { symmetric?: boolean } = {},
): Format {
  const grid = [...new Float32Array(levels)].sort((a, b) => a - b).map((level) => level + 0);
  const text = grid.join(",");
  const fault = grid.length < 2 || grid.length > 16
    ? `must hold 2 to 16 numbers: got ${grid.length}`
    : !grid.every(Number.isFinite)
    ? `must hold finite f32 numbers: got ${text}`
    : new Set(grid).size < grid.length
    ? `must hold different numbers: got ${text}`
    : "";
  if (fault) throw new RangeError(`Cannot use levels as a codebook ${fault}`);
  const name = `custom:${text}-${symmetric ? "sym" : "asym"}`;
  return build(name, "table", grid, symmetric ? "one" : "two");
}

/**
 * A small float with a sign, `e` exponent and `m` mantissa bits, 1 + e + m = 3 or 4; see
 * {@linkcode floatMagnitudes} for bias and subnormals.
 *
 * @throws {RangeError} if the bits do not add up to 3 or 4
 */
export function exMy(
  e: number,
  m: number,
  { symmetric = false }: { symmetric?: boolean } = {},
): Format {
  const bits = 1 + e + m;
  if (e < 1 || m < 0 || !(bits === 3 || bits === 4)) {
    throw new RangeError(
      `Cannot build a small float as 1 + exponent + mantissa bits must be 3 or 4, exponent at least 1: got e${e}m${m}`,
    );
  }
  const magnitudes = floatMagnitudes(e, m);
  const name = `e${e}m${m}-${symmetric ? "sym" : "asym"}`;
  const decode = e !== 2 ? "table" : m === 1 ? "e2m1" : "e2m0";
  const negatives = magnitudes.slice(1).map((level) => -level).reverse();
  const grid = decode === "table" ? [...negatives, ...magnitudes] : magnitudes;
  return build(name, decode, grid, symmetric ? "one" : "two");
}

/** Values that the free code of `fp4` and `fp3` is worth giving: arXiv 2411.11745 and 2501.04052. */
const SPECIALS: Record<string, readonly number[]> = { fp4: [5, -5, 8, -8], fp3: [3, -3, 6, -6] };

/** `fp4` or `fp3` with each value worth giving to the code of -0; none for other formats. */
export function specialFormats({ name, scaling }: Format): Format[] {
  const family = name.slice(0, name.indexOf("-"));
  const symmetric = scaling === "one";
  return (SPECIALS[family] ?? []).map((value) => specialFormat(family, value, { symmetric }));
}

/** A small float whose code of -0, which says no more than that of 0, stands for `value`. */
function specialFormat(
  family: string,
  value: number,
  { symmetric }: { symmetric: boolean },
): Format {
  const magnitudes = GRIDS[family].one;
  const name = `${family}${value < 0 ? "" : "+"}${value}-${symmetric ? "sym" : "asym"}`;
  const levels = [...magnitudes, ...magnitudes.slice(1).map((level) => -level)];
  const level = Math.fround(value);
  if (levels.includes(level) || !Number.isFinite(level)) {
    throw new RangeError(
      `Cannot read "${name}" as a format must add a finite level that ${family} lacks: got ${value}`,
    );
  }
  const grid = [...levels, level].sort((a, b) => a - b);
  return build(name, "table", grid, symmetric ? "one" : "two");
}

/** Bits of a codebook that a file must bring along: none of a named one, else f16 or f32 levels. */
export function codebookBits({ name, grid }: Format): number {
  if (!name.startsWith("custom:")) return 0;
  const halves = grid.every((level) => f16Value(f16Bits(level)) === level);
  return grid.length * (halves ? 16 : 32);
}

/** Numbers of a `custom:` name. */
function numbers(name: string, family: string): number[] {
  const words = family.slice("custom:".length).split(",");
  const bad = words.find((word) => !/^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/.test(word));
  if (bad === undefined) return words.map(Number);
  throw new RangeError(`Cannot read "${name}" as a format must list numbers: got "${bad}"`);
}

/** A format from its table: magnitudes for sign-and-magnitude codes, ascending levels otherwise. */
function build(name: string, decode: Decode, table: readonly number[], scaling: Scaling): Format {
  const byCode = decode === "table" ? table : [...table, ...table.map((level) => -level)];
  const bits = byCode.length > 8 ? 4 : 3;
  const levels = Float32Array.from(
    { length: 1 << bits },
    (_, code) => byCode[Math.min(code, byCode.length - 1)],
  );
  const codes = Array.from(byCode, (_, code) => code)
    .filter((code) => decode === "table" || !Object.is(levels[code], -0))
    .sort((a, b) => levels[a] - levels[b]);
  const zeroCode = codes.find((code) => levels[code] === 0) ?? 0;
  return {
    name,
    bits,
    scaling,
    decode,
    levels,
    grid: Float32Array.from(codes, (code) => levels[code]),
    codes: Uint8Array.from(codes),
    zeroCode,
    integer: name.startsWith("int"),
  };
}
