/**
 * The places of mutations.ts in kernels of `--accuracy fast`.
 *
 * @module
 */
import { bytes, bytesGpu, fast, fastGpu, fastUneven } from "./mutation_claims.ts";
import type { Mutation } from "./mutations.ts";

/** In f16 arithmetic. */
export const HALF_MUTATIONS: Mutation[] = [
  ["word << 8u, other << 8u);", "word << 8u, other << 7u);", fast("fp4-sym")],
  ["vec4u(0x0e000e00u)", "vec4u(0x8e000e00u)", fast("fp4-asym")],
  ["word << 10u);", "word << 9u);", fast("fp3-asym")],
  ["vec4u(0x0c000c00u)", "vec4u(0x8c008c00u)", fast("fp3-asym")],
  ["signed & vec4u(0x7fff7fffu)", "signed", fast("nf4-asym")],
  ["bitcast<vec2h>(signed[i]) - zeros", "bitcast<vec2h>(signed[i])", fast("int4-asym")],
  ["* COPIES + copy];", "* COPIES + 2u];", fast("nf3-sym")],
  ["f32(sums.x + sums.y)", "f32(sums.x)", fast("fp4-sym")],
  ["return factors[token]", "return factors[0]", fastUneven],
  ["const PIECES: u32 = 4;", "const PIECES: u32 = 3;", fastGpu],
  ["return half_x[i]", "return half_x[i / 2u]", fastGpu],
  ["253u + TARGET - exponent", "250u + TARGET", fast("fp4-sym")],
  ["254u - up", "253u - up", fast("fp4-sym")],
  ["pack2x16float(hi.xy)", "pack2x16float(lo.xy)", fast("fp4-sym")],
];

/** With activations of a byte. */
export const BYTE_MUTATIONS: Mutation[] = [
  ["extractBits(i, 1u, 3u)", "extractBits(i, 2u, 3u)", bytes("fp4-asym")],
  ["(i & 1u) << 3u", "(i & 2u) << 2u", bytes("fp4-asym")],
  ["second_at(word >> 14u)", "second_at(word >> 15u)", bytes("fp4-asym")],
  ["(i >> 5u) & 4u), (i & 3u)", "(i >> 4u) & 4u), (i & 3u)", bytes("fp3-asym")],
  ["first_at(word >> 22u)", "first_at(word >> 20u)", bytes("fp3-asym")],
  [
    "second_at(word >> (6u * BITS - 2u))",
    "second_at(word >> (4u * BITS - 2u))",
    bytes("int3-asym"),
  ],
  ["0x2fcu, DECODE", "0x1fcu, DECODE", bytes("fp3-asym")],
  ["(second & low) | (first & ~low)", "(first & low) | (second & ~low)", bytes("fp4-asym")],
  ["min(levels, vec2i(0))", "vec2i(0)", bytes("fp4-asym")],
  ["vec2u(word, word >> 4u)", "vec2u(word, word >> 3u)", bytes("int4-asym")],
  ["0x1p-14, 1.0, DECODE == 2u) / STEPS", "0x1p-14, 1.0, DECODE == 2u)", bytes("fp4-asym")],
  ["return scale.y * STEPS", "return 0.0", bytes("int4-asym")],
  ["return -codebook.levels[0].x", "return 0.0", bytes("int4-sym")],
  ["all = add_bytes(vec2u(0x01010101u), t, all)", "all = 0", bytes("int3-asym")],
  ["vec2u(16u)) | (t >>", "vec2u(8u)) | (t >>", bytes("fp4-asym")],
  ["four.zw, word % 2u == 1u", "four.zw, word % 2u == 2u", bytes("int4-asym")],
  ["fma(sum, bitcast<f32>(", "fma(sum, f32(", bytes("int4-asym")],
  ["const STRIDE: u32 = 3;", "const STRIDE: u32 = 2;", bytesGpu],
  ["return byte_x[i]", "return byte_x[i / 2u]", bytesGpu],
  ["vec4f(lo.xz, hi.xz)", "vec4f(lo.xy, hi.xz)", bytes("fp4-asym")],
  ["hi, IN_ORDER), steps)", "lo, IN_ORDER), steps)", bytes("int3-asym")],
  ["round(values * steps)", "floor(values * steps - 0.25)", bytes("fp4-asym")],
  ["most / 127.0, 0.0, small", "most / 128.0, 0.0, small", bytes("fp4-asym")],
];
