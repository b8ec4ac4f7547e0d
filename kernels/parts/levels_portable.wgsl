// levels: what the codes of a word stand for, in arithmetic that CPUs do on whole vectors.
//
// On a CPU that plays a GPU a conversion from f16 is twenty instructions, min() as many, for its NaN, and
// a shift or a look-up one for each lane; sums, products and masks are one. So a bit decode puts a
// magnitude's exponent bits into an f32 above a bias: f, right but for exponent 0, where 2 f - 2^-14 is
// right and elsewhere no smaller; and codes move down as the mantissa of an f32.
// needs:    parts/weights
// gives:    load_levels(), first; magnitude() of a bit decode; table8() otherwise

// Levels of the lane's own: a barrier would cost a CPU more.
var<private> levels: array<f32, 16>;

fn load_levels() {
  if (DECODE == 2u) {
    for (var i = 0u; i < 16u; i++) { levels[i] = codebook.levels[i / 4u][i % 4u]; }
  }
}

// |level| 2^-14 of the magnitude bits that begin at a bit of a word.
fn magnitude(word: u32, bit: u32) -> f32 {
  let left = select(22, 23, DECODE == 1u) - i32(bit);
  let moved = select(word >> u32(max(-left, 0)), word * (1u << u32(max(left, 0))), left >= 0);
  let f = bitcast<f32>((moved & select(0x01800000u, 0x01c00000u, DECODE == 0u)) + 0x38000000u);
  let above = f - 0x1p-14;
  return f + 0.5 * (above - abs(above));
}

// Level of code j of the four in the low bits of a word.
fn level(four: u32, j: u32) -> f32 {
  let mask = (1u << BITS) - 1u;
  let code = bitcast<f32>((four & (mask << (BITS * j))) + 0x4b000000u) - 0x1p23;
  let down = bitcast<f32>((127u - BITS * j) << 23u);
  return levels[bitcast<u32>(code * down + 0x1p23) & mask];
}

fn level4(four: u32) -> vec4f {
  return vec4f(level(four, 0u), level(four, 1u), level(four, 2u), level(four, 3u));
}

fn table8(word: u32) -> Eight {
  return Eight(level4(word), level4(word >> (4u * BITS)));
}
