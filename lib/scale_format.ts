/**
 * How the scales of groups are stored: each an f16, or a code of 4 or 8 bits, which stands for a small
 * float without a sign, under a factor that a row or the whole tensor shares.
 *
 *   f16                           scale = the f16
 *   eXmY-row, eXmY-tensor         scale = factor (1 + M / 2^Y) 2^(E - bias), bias 2^(X-1) - 1
 *                                 for the code E M of X + Y = 4 or 8 bits
 *
 * No exponent is subnormal and none means infinity, so a kernel moves a code's bits into an f32 by one
 * shift and one sum. Only e8m0, whose bias is f32's own, has two codes that are no scale: 0 and 255.
 * `mx` is e8m0-tensor and `nv` e5m3-tensor with scales by others' rules: see scale_rule.ts.
 *
 * 4 bits are what pays: on normal weights half the group is worth more than the bits that a wider
 * code takes, as 6 bits at groups of 32 showed, which is why there are no widths between. 8 bits serve
 * blocks of 64, and the codes of others (MXFP4, NVFP4).
 *
 * @module
 */

/** Whose rule gives scales: OCP's for MXFP4, NVIDIA's for NVFP4. */
export type ScaleRule = "mx" | "nv";

/** How scales are stored. */
export interface ScaleFormat {
  /** `f16`, or as {@linkcode scaleFormat} reads it. */
  readonly name: string;
  /** Of one scale. */
  readonly bits: 4 | 8 | 16;
  /** What shares a factor; null for f16, which has none. */
  readonly factor: "row" | "tensor" | null;
  /** Bits of a code's mantissa. */
  readonly mantissa: number;
  /** By code, ascending, [2^bits]; empty for f16. What is not positive and finite is no scale. */
  readonly values: Float64Array<ArrayBuffer>;
  /** Whose rule gives scales, in place of the nearest code or a search. */
  readonly rule?: ScaleRule;
}

/** A scale is an f16: what a matrix has that says nothing else. */
export const F16_SCALES: ScaleFormat = {
  name: "f16",
  bits: 16,
  factor: null,
  mantissa: 0,
  values: new Float64Array(),
};

/**
 * The storage of a name: `f16`, `eXmY-row`, `eXmY-tensor`, `mx` or `nv`.
 *
 * @throws {RangeError} if there is none of that name
 *
 * @example Usage
 * ```ts
 * import { scaleFormat } from "./scale_format.ts";
 * import assert from "node:assert/strict";
 *
 * const { values } = scaleFormat("e1m3-row");
 * assert.deepEqual([values[0], values[1], values[15]], [1, 1.125, 3.75]);
 * ```
 */
export function scaleFormat(name: string): ScaleFormat {
  if (name === "f16") return F16_SCALES;
  const known = formats.get(name);
  if (known) return known;
  if (name === "mx" || name === "nv") {
    const plain = scaleFormat(name === "mx" ? "e8m0-tensor" : "e5m3-tensor");
    const ruled: ScaleFormat = { ...plain, name, rule: name };
    formats.set(name, ruled);
    return ruled;
  }
  const [, e, m, factor] = /^e([1-8])m([0-7])-(row|tensor)$/.exec(name) ?? [];
  const [exponent, mantissa] = [Number(e), Number(m)];
  const bits = exponent + mantissa;
  if (!(bits === 4 || bits === 8) || (exponent > 5 && exponent < 8)) {
    throw new RangeError(
      `Cannot read "${name}" as a storage of scales must be f16, mx, nv, or eXmY-row or eXmY-tensor ` +
        `of 4 or 8 bits, X at most 5, or 8`,
    );
  }
  const values = Float64Array.from({ length: 1 << bits }, (_, code) => {
    if (exponent === 8 && (code === 0 || code === 255)) return code === 0 ? 0 : Infinity;
    const power = (code >> mantissa) - biasOf(exponent);
    return (1 + (code % (1 << mantissa)) / (1 << mantissa)) * 2 ** power;
  });
  const format = { name, bits, mantissa, factor: factor as "row" | "tensor", values } as const;
  formats.set(name, format);
  return format;
}

const formats = new Map<string, ScaleFormat>();

/** What is added to a code's bits, moved left by 23 - mantissa, to make an f32 of them. */
export function scaleStart({ bits, mantissa }: ScaleFormat): number {
  return bits === 16 ? 0 : (127 - biasOf(bits - mantissa)) * 2 ** 23;
}

function biasOf(exponent: number): number {
  return 2 ** (exponent - 1) - 1;
}
