/**
 * The element types of safetensors: the name a header spells, and the bits one element takes.
 *
 * Formula: bytes of a tensor [d0, d1, ..] = d0 * d1 * .. * bits / 8, row-major, little-endian. The
 * product is checked from left to right against 2^64 - 1, as the reference reader does, so
 * [2^64 - 1, 2, 0] overflows and is refused while [0, 2^64 - 1] is merely empty. Types below one
 * byte (F4, F6) are packed, and a tensor of them must end on a byte.
 *
 * The table stands in the reference's order, which is also the order, read from the end, in which
 * the writer lays tensors out: the widest first, so that each begins at a multiple of its width.
 *
 * Leaves out: what the elements mean. `float16.ts` widens the three types that weights come in.
 *
 * @module
 */

/** Bits of one element by dtype, in the order of the reference's own list. */
export const DTYPE_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

/** The name of an element type, as a safetensors header spells it. */
export type Dtype = keyof typeof DTYPE_BITS;

/** Row-major extents; an entry is a bigint only above 2^53 - 1. */
export type Shape = readonly (number | bigint)[];

/** Every dtype, in the reference's order. */
export const dtypes = Object.keys(DTYPE_BITS) as Dtype[];

/** Whether a header's word is a dtype of the format. */
export function isDtype(word: string): word is Dtype {
  return Object.hasOwn(DTYPE_BITS, word);
}

/** The largest unsigned 64-bit integer: no count in a header may exceed it. */
export const MAX_U64 = 2n ** 64n - 1n;

/** Says which rule about a tensor is broken, and by what. Never returns. */
export type Refuse = (rule: string, got: string | number | bigint) => never;

/**
 * Bytes that a tensor takes: shape product x bits / 8.
 *
 * @throws {RangeError} by `refuse`, when a product passes 2^64 - 1, the total passes 2^53 - 1 bytes,
 * or a sub-byte type does not end on a byte
 *
 * @example Usage
 * ```ts
 * import { tensorBytes } from "./dtype.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(tensorBytes("BF16", [2, 3]), 12);
 * assert.equal(tensorBytes("F4", [3, 2]), 3);
 * ```
 */
export function tensorBytes(dtype: Dtype, shape: Shape, refuse?: Refuse): number {
  const bits = DTYPE_BITS[dtype];
  let total = 1;
  for (const extent of shape) total *= Number(extent);
  total *= bits;
  // An empty tensor's factors can overflow before the zero, so zero takes the slow road as well.
  if (total > 0 && total <= Number.MAX_SAFE_INTEGER && total % 8 === 0) return total / 8;
  return exactBytes(bits, shape, refuse ?? refuser(dtype, shape));
}

function refuser(dtype: Dtype, shape: Shape): Refuse {
  return (rule, got) => {
    throw new RangeError(`Cannot size ${dtype} [${shape.join(", ")}] as ${rule}: got ${got}`);
  };
}

function exactBytes(bits: number, shape: Shape, refuse: Refuse): number {
  let total = 1n;
  for (const factor of [...shape, bits]) {
    total *= BigInt(factor);
    if (total > MAX_U64) refuse("its count of bits must stay below 2^64 at every step", total);
  }
  if (total % 8n !== 0n) refuse("its bits must end on a whole byte", `${total} bits`);
  if (total / 8n > Number.MAX_SAFE_INTEGER) {
    refuse("its bytes must stay below 2^53", total / 8n);
  }
  return Number(total / 8n);
}
