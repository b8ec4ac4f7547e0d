/**
 * Formats whose levels are whole numbers of steps that fit a byte: those kernels/matvec_bytes.wgsl
 * multiplies, exactly, with activations of a byte.
 *
 *   fp4      halves: 0, 1, 2, 3, 4, 6, 8, 12
 *   fp3, int as they are
 *   run      level k of 16 is level 0 + k, so that codes are bytes as they stand
 *
 * Quantile and fitted levels are none, and would have to be rounded: they are left to f16.
 *
 * @module
 */

import type { QuantizedMatrix } from "./pack.ts";

/** How levels become bytes. */
export interface ByteLevels {
  /** Bytes that a level of 1 stands for: a power of two. */
  readonly steps: number;
  /** Whether level k is level 0 + k, of all codes that occur. */
  readonly run: boolean;
}

/** Largest byte. */
const MOST = 127;
/** Words of eight codes of 4 bits, bit 0 of each. */
const EACH = 0x11111111;

/**
 * How the levels of a matrix become bytes, or null where they are no whole numbers of a byte, or bytes
 * gain nothing: with one scale a group f16 does as well, but for codes that are bytes already.
 */
export function byteLevelsOf(q: QuantizedMatrix): ByteLevels | null {
  const { format: { levels, scaling } } = q;
  const steps = [1, 2, 4, 8, 16, 32, 64].find((steps) =>
    levels.every((level) => Number.isInteger(level * steps) && Math.abs(level * steps) <= MOST)
  );
  if (!steps) return null;
  const run = steps === 1 && scaling !== "two" && isRun(q);
  return run || scaling !== "one" ? { steps, run } : null;
}

/** Those that two stacked matrices of one format have in common. */
export function commonByteLevels(a: ByteLevels | null, b: ByteLevels | null): ByteLevels | null {
  if (!a || !b) return null;
  return a.run && !b.run ? b : a;
}

/** The last level of 15 is said twice: where it is, and for a code that quantisers do not write. */
function isRun({ format: { levels, bits, decode }, codes }: QuantizedMatrix): boolean {
  const runs = (count: number) =>
    levels.subarray(0, count).every((level, code) => level === levels[0] + code);
  if (bits !== 4 || decode !== "table" || !runs(15)) return false;
  return runs(16) || codes.every((word) => (word & word >> 1 & word >> 2 & word >> 3 & EACH) === 0);
}
