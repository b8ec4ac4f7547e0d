// matmul_strips: Y = X W^T + b for any number of tokens, W packed: for devices that are a CPU.
//
//   codes, codes4, scales, codebook       see parts/weights: bindings 0 to 3
//   x     [tokens, UNITS * 32] as vec4f   f32   a row ends in zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to where ADD
//   step  tokens, -, -, 4                 u32   a uniform; the fourth is a number that compilers do not know
//                                               and so do not unroll by
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64: each weight takes its own side's scale
// dispatch: one workgroup for EACH rows x TOKENS tokens, rows first, folded over x and y
// parts:    weights, levels, strips
// spec:     matmul() in lib/linear_reference.ts

@group(0) @binding(4) var<storage, read> x: array<vec4f>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<uniform> step: vec4u;

// A weight by a bit decode: its magnitude from a bit of the word on, its sign at another.
fn weight(word: u32, bit: u32, sign: u32, scale: vec2f) -> f32 {
  let below = select(-scale.x, -scale.y, SCALING == 1u);
  return magnitude(word, bit) * select(scale.x, below, (word & (1u << sign)) != 0u);
}

// The eight weights of a word; codebook.factor is still to come.
fn weights8(word: u32, s: vec2f) -> Eight {
  if (DECODE == 0u) {
    return Eight(
      vec4f(weight(word, 9u, 15u, s), weight(word, 25u, 31u, s), weight(word, 12u, 8u, s), weight(word, 28u, 24u, s)),
      vec4f(weight(word, 1u, 7u, s), weight(word, 17u, 23u, s), weight(word, 4u, 0u, s), weight(word, 20u, 16u, s)),
    );
  }
  if (DECODE == 1u) {
    return Eight(
      vec4f(weight(word, 10u, 15u, s), weight(word, 26u, 31u, s), weight(word, 8u, 13u, s), weight(word, 24u, 29u, s)),
      vec4f(weight(word, 2u, 7u, s), weight(word, 18u, 23u, s), weight(word, 0u, 5u, s), weight(word, 16u, 21u, s)),
    );
  }
  return weigh8(word, s);
}

// Adds word i of a unit.
fn add_word(i: u32, word: u32, scale: vec2f) {
  let w = weights8(word, scale);
  add_eight(2u * i, w.lo, w.hi);
}

fn add_unit(row: u32, unit: u32) {
  let words = load_unit(row, unit);
  let scales = unit_scales(row, unit);
  add_word(0u, words.x, scales.first);
  add_word(1u, words.y, scales.first);
  add_word(2u, words.z, scales.second);
  add_word(3u, words.w, scales.second);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  load_levels();
  walk(block.y * blocks.x + block.x, lane);
}
