/**
 * The two 16-bit floats of checkpoints, to and from f32 and f64.
 *
 *   f16   1 sign, 5 exponent, 10 mantissa bits   largest 65504, smallest normal 2^-14
 *   bf16  1 sign, 8 exponent,  7 mantissa bits   the upper half of an f32
 *
 * Every narrowing rounds once, to nearest, ties to even, straight from the type it is given: f64 for
 * scales, f32 for weights. Infinities and NaN pass through; refusing them is the quantiser's business.
 *
 * @module
 */

/** The float types that weights come in. */
export type FloatDtype = "F32" | "F16" | "BF16";

/** Largest finite f16. */
export const F16_MAX = 65504;
/** Largest finite bf16, 2^128 - 2^120. */
export const BF16_MAX = 3.3895313892515355e38;
/** Largest finite f32, 2^128 - 2^104. */
export const F32_MAX = 3.4028234663852886e38;
/** Smallest normal f16, 2^-14: GPUs may flush anything below to zero. */
export const F16_MIN_NORMAL = 6.103515625e-5;

const oneHalf = new Float16Array(1);
const oneHalfBits = new Uint16Array(oneHalf.buffer);

/** Bits of the f16 nearest to an f64. */
export function f16Bits(value: number): number {
  oneHalf[0] = value;
  return oneHalfBits[0];
}

/** Value of the f16 with these bits. */
export function f16Value(bits: number): number {
  oneHalfBits[0] = bits;
  return oneHalf[0];
}

/** 2^exponent exactly, for any exponent an f64 can hold as a normal number, without `Math.pow`. */
export function powerOfTwo(exponent: number): number {
  oneDoubleBits[0] = BigInt(exponent + 1023) << 52n;
  return oneDouble[0];
}

/** Floor of the base-2 logarithm of a positive normal f64, read off its exponent bits. */
export function floorLog2(value: number): number {
  oneDouble[0] = value;
  return Number((oneDoubleBits[0] >> 52n) & 2047n) - 1023;
}

const oneDouble = new Float64Array(1);
const oneDoubleBits = new BigUint64Array(oneDouble.buffer);

/** Little-endian bytes of a float tensor as f32, exactly. */
export function widen(bytes: Uint8Array, dtype: FloatDtype): Float32Array<ArrayBuffer> {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const { buffer, byteOffset, byteLength } = aligned;
  if (dtype === "F32") return new Float32Array(buffer, byteOffset, byteLength / 4).slice();
  const halves = new Uint16Array(buffer, byteOffset, byteLength / 2);
  if (dtype === "F16") return new Float32Array(new Float16Array(buffer, byteOffset, halves.length));
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = halves[i] << 16;
  return new Float32Array(words.buffer);
}

/** f32 values as the little-endian bytes of a float tensor, each rounded to nearest even. */
export function narrow(values: Float32Array, dtype: FloatDtype): Uint8Array<ArrayBuffer> {
  if (dtype === "F32") return new Uint8Array(values.slice().buffer);
  if (dtype === "F16") return new Uint8Array(new Float16Array(values).buffer);
  const words = new Uint32Array(values.slice().buffer);
  return new Uint8Array(Uint16Array.from(words, bf16Bits).buffer);
}

/** Upper half of an f32's bits, rounded to nearest even; a NaN stays one. */
function bf16Bits(word: number): number {
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40;
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}
