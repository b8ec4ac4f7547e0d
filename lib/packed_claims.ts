/**
 * What the metadata of a file says of a quantised matrix, and the text it says it in. A file may be a
 * stranger's, so each claim is held to its range; whether the tensors are as claimed, packed_tensors.ts
 * sees to.
 *
 * @module
 */

import { f16Bits, f16Value, type FloatDtype } from "./float16.ts";
import { type Format, format as formatOf } from "./format.ts";
import { expectGroup, type Group, type PackedShape } from "./pack.ts";
import { type ScaleFormat, scaleFormat as scaleFormatNamed } from "./scale_format.ts";
import { type Json, parseStrictJson, quote } from "./strict_json.ts";

/** What is claimed of a matrix. */
export interface PackedClaims extends PackedShape {
  readonly scaleExponent: number;
  readonly underflows: number;
  readonly factor?: number;
  /** What the source tensor was made of. */
  readonly dtype: FloatDtype;
}

/** Refuses a claim. */
export type Refuse = (rule: string, got: unknown) => never;

/** The text that a file has of a matrix. */
export function claimsText(facts: PackedClaims): string {
  const { format, group, rows, cols, scaleExponent, underflows, dtype, factor } = facts;
  return JSON.stringify({
    format: format.name,
    group,
    rows,
    cols,
    scaleExponent,
    underflows,
    dtype,
    scales: facts.scaleFormat?.name,
    factor,
  });
}

/** What the metadata of one matrix claims, each number in its range. */
export function readClaims(
  name: string,
  text: string,
  fail: Refuse,
): PackedClaims {
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
    ...claimedScales(claims, fail),
  };
}

/** Storage of coded scales and the tensor's factor, where there are any. */
function claimedScales(
  { scales, factor }: Readonly<Record<string, Json>>,
  fail: Refuse,
): { scaleFormat?: ScaleFormat; factor?: number } {
  if (scales === undefined) return {};
  const scaleFormat = scaleFormatOrNull(scales);
  if (!scaleFormat || scaleFormat.bits === 16) {
    return fail("scales must be a storage that this version knows", JSON.stringify(scales));
  }
  if (scaleFormat.factor === "row") return { scaleFormat };
  const number = Number(factor);
  const fits = typeof factor === "number" && (number === 0 || (number >= 1 && number <= 2));
  if (!fits || f16Value(f16Bits(number)) !== number) {
    return fail("factor must be 0 or an f16 in [1, 2]", factor);
  }
  return { scaleFormat, factor: number };
}

function scaleFormatOrNull(name: Json): ScaleFormat | null {
  try {
    return scaleFormatNamed(String(name));
  } catch {
    return null;
  }
}

function claimedFormat(name: unknown, fail: Refuse): Format {
  if (typeof name !== "string") return fail("format must be a name", name);
  try {
    return formatOf(name);
  } catch {
    return fail("format must be one that this version knows", quote(name));
  }
}

function claimedGroup(group: unknown, fail: Refuse): Group {
  try {
    expectGroup(group as Group);
    return group as Group;
  } catch {
    return fail(`group must be a power of two from 16 to 256, or "row"`, group);
  }
}
