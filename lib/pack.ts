/**
 * Where every bit of a quantised matrix lies. This file is the contract between the quantiser, the
 * file on disk and the kernels (`kernels/parts/weights_portable.wgsl` is its mirror): the three
 * hold the same bytes and nobody repacks.
 *
 * A row is cut into units of 32 columns, the last one padded with codes that decode to 0. A unit is
 * four words of eight codes:
 *
 *   4 bits   words 0..3 as they are: 16 bytes a unit
 *   3 bits   words 0..2; word 3 is woven into the bits that those leave free: 12 bytes a unit
 *
 * In a word, code j (column 8 word + j) lies where its decode wants it:
 *
 *   table    in order from the low end, 4 or 3 bits each; free at 3 bits: the top byte
 *   e2m1     pair k = j / 2 in the two halves, even j low; pairs 0 and 1 share the upper byte of a half, 2
 *            and 3 the lower. Bits 7 and 3..1 of a byte are sign and magnitude of the first, where the
 *            upper byte of an f16 2^-14 times the level has them; bits 0 and 6..4 are those of the second.
 *            One selection between two shifts brings the seconds of a word to the place of the firsts,
 *            a shift by 8 lower bytes to upper ones: 9 instructions for 8 codes
 *   e2m0     the same with bits 15 and 11..10 of a half; pair k lies SHIFT[k] bits lower, in one piece, and
 *            the free bits {14, 12, 6, 4} of three halves are just the twelve of a fourth
 *
 * Where scales lie says pack_scales.ts.
 *
 * @module
 */

import { codebookBits, type Decode, type Format } from "./format.ts";
import type { ScaleFormat } from "./scale_format.ts";

/** Version of this layout; files of any other are refused. */
export const LAYOUT_VERSION = 2;

/** Columns in a unit. */
export const UNIT = 32;

/** Columns that share scales: a power of two from 16 to 256, or the whole row. */
export type Group = number | "row";

/** Groups that {@linkcode expectGroup} lets pass. */
export const groups: readonly Group[] = [16, 32, 64, 128, 256, "row"];

/** What decides the sizes of a packed matrix W [rows, cols]. */
export interface PackedShape {
  /** Output features. */
  readonly rows: number;
  /** Input features. */
  readonly cols: number;
  readonly format: Format;
  readonly group: Group;
  /** How scales are stored; f16 where there is none. */
  readonly scaleFormat?: ScaleFormat;
}

/** W [rows, cols] as codes and scales, on disk and on the device alike. */
export interface QuantizedMatrix extends PackedShape {
  /** Name of the source tensor, "" if it has none. */
  readonly name: string;
  /** A stored scale is the true one times 2^scaleExponent. */
  readonly scaleExponent: number;
  /** Scales that were not 0 and had to be stored as 0. */
  readonly underflows: number;
  /** [rows, words a row] */
  readonly codes: Uint32Array<ArrayBuffer>;
  /** f16 bits, or bytes of codes: see pack_scales.ts. */
  readonly scales: Uint16Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;
  /** That all scales share, in [1, 2) and an f16; 1 unless told. */
  readonly factor?: number;
}

/** Refuses a group that is not one of {@linkcode groups}. */
export function expectGroup(group: Group): void {
  if (!groups.includes(group)) {
    throw new RangeError(
      `Cannot group columns as the group must be one of ${groups.join(", ")}: got ${group}`,
    );
  }
}

/** Units in a row. */
export function unitsPerRow(cols: number): number {
  return Math.ceil(cols / UNIT);
}

/** Groups in a row; the last may be short. */
export function groupsPerRow({ cols, group }: { cols: number; group: Group }): number {
  return group === "row" ? Math.min(cols, 1) : Math.ceil(cols / group);
}

/** Shape of the U32 tensor of codes: [rows, words a row]. */
export function codesShape({ rows, cols, format }: PackedShape): [number, number] {
  return [rows, format.bits * unitsPerRow(cols)];
}

/** Bits beside codes and scales: of a codebook of the matrix' own, and of its factor. */
export function metadataBits({ format, scaleFormat }: PackedShape): number {
  return codebookBits(format) + (scaleFormat?.factor === "tensor" ? 16 : 0);
}

/** Bits that codes, scales, codebook and factor take, for each weight of W. */
export function bitsPerWeight(q: QuantizedMatrix): number {
  const stored = 8 * (q.codes.byteLength + q.scales.byteLength);
  return (stored + metadataBits(q)) / (q.rows * q.cols);
}

/** Bits of a byte that hold two e2m1 codes, each from its low end. */
const E2M1 = [[1, 2, 3, 7], [4, 5, 6, 0]];
/** Bits that e2m0 pairs lie below their place in an f16. */
const SHIFT = [0, 2, 8, 10];

/** Bit of a word that holds bit `b` of code `j`. */
function bitPlace({ decode, bits }: Format, j: number, b: number): number {
  const pair = j >> 1;
  const half = 16 * (j & 1);
  if (decode === "table") return bits * j + b;
  if (decode === "e2m1") return half + (pair < 2 ? 8 : 0) + E2M1[pair & 1][b];
  return half + (b === 2 ? 15 : 10 + b) - SHIFT[pair];
}

/** How word 3 of a 3-bit unit goes into the free bits of words 0..2: bits `mask`, moved left. */
const WEAVE: Record<Decode, readonly { mask: number; left: number }[]> = {
  table: [{ mask: 0x0000ff, left: 24 }, { mask: 0x00ff00, left: 16 }, { mask: 0xff0000, left: 8 }],
  e2m0: [
    { mask: 0xa0a0a0a0, left: -1 },
    { mask: 0x0a0a0a0a, left: 3 },
    { mask: 0x05050505, left: 4 },
  ],
  e2m1: [],
};

/** Moves bits left, or right by a negative number. */
function move(word: number, left: number): number {
  return left < 0 ? word >>> -left : word << left;
}

/** Tables of one format's layout: the word's bits for each place and code. */
interface Placement {
  /** [8, 2^bits] */
  readonly spread: Uint32Array;
  /** Rotations right that bring a code's low bits, and its top bit, to their places in the code, [8]. */
  readonly low: Uint8Array;
  readonly top: Uint8Array;
  readonly weave: readonly { mask: number; left: number }[];
}

const placements = new WeakMap<Format, Placement>();

function placementOf(format: Format): Placement {
  const known = placements.get(format);
  if (known) return known;
  const { bits, decode } = format;
  const spread = new Uint32Array(8 << bits);
  for (let entry = 0; entry < spread.length; entry++) {
    for (let b = 0; b < bits; b++) {
      if (entry >> b & 1) spread[entry] |= 1 << bitPlace(format, entry >> bits, b);
    }
  }
  const shifts = (b: number) =>
    Uint8Array.from({ length: 8 }, (_, j) => (bitPlace(format, j, b) - b) & 31);
  const placement = {
    spread,
    low: shifts(0),
    top: shifts(bits - 1),
    weave: bits === 3 ? WEAVE[decode] : [],
  };
  placements.set(format, placement);
  return placement;
}

/**
 * Packs one row of codes, [units * 32], into `words` from `start` on.
 *
 * @example Usage
 * ```ts
 * import { format } from "./format.ts";
 * import { packRow, unpackRow } from "./pack.ts";
 * import assert from "node:assert/strict";
 *
 * const codes = Uint8Array.from({ length: 32 }, (_, column) => column % 8);
 * const words = new Uint32Array(3);
 * packRow(format("nf3-asym"), codes, words, 0);
 * assert.deepEqual(unpackRow(format("nf3-asym"), words, 0, 32), codes);
 * ```
 */
export function packRow(
  format: Format,
  codes: Uint8Array,
  words: Uint32Array,
  start: number,
): void {
  const { spread, weave } = placementOf(format);
  const bits = format.bits;
  for (let column = 0, word = start; column < codes.length; column += 8) {
    let packed = 0;
    for (let j = 0; j < 8; j++) packed |= spread[(j << bits) | codes[column + j]];
    if (bits === 4 || column % UNIT < 24) words[word++] = packed;
    else {for (let i = 0; i < 3; i++) {
        words[word - 3 + i] |= move(packed & weave[i].mask, weave[i].left);
      }}
  }
}

/** Codes of one row, [cols], from `words` from `start` on: undoes {@linkcode packRow}. */
export function unpackRow(
  format: Format,
  words: Uint32Array,
  start: number,
  cols: number,
): Uint8Array<ArrayBuffer> {
  const { weave, low, top } = placementOf(format);
  const bits = format.bits;
  const topBit = 1 << (bits - 1);
  const codes = new Uint8Array(unitsPerRow(cols) * UNIT);
  for (let column = 0; column < codes.length; column += 8) {
    const unit = start + bits * Math.floor(column / UNIT);
    const lane = column % UNIT / 8;
    let packed = words[unit + lane];
    if (lane === 3 && bits === 3) {
      packed = 0;
      for (let i = 0; i < 3; i++) packed |= move(words[unit + i], -weave[i].left) & weave[i].mask;
    }
    for (let j = 0; j < 8; j++) {
      const turned = packed >>> top[j] | packed << 32 - top[j];
      codes[column + j] = (packed >>> low[j] & (topBit - 1)) | (turned & topBit);
    }
  }
  return codes.subarray(0, cols);
}
