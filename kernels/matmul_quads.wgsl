// matmul_quads: Y = X W^T + b for several tokens, W packed: matmul for devices that are a CPU.
//
//   codes, codes4, scales, codebook       see parts/weights: bindings 0 to 3
//   x     [tokens, UNITS * 32] as vec4f   f32   a row ends in zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to where ADD
//   step  tokens, -, -, 4                 u32   a uniform; the fourth is the words of a unit, a number that
//                                               compilers do not know and so do not unroll by
//
// Here a conversion from f16 is twenty instructions, min() as many, for its NaN, and a shift or a look-up
// one for each lane; sums, products and masks are one. So the bit decodes put a magnitude's exponent
// bits into an f32 above a bias: f, right but for exponent 0, where 2 f - 2^-14 is right and elsewhere
// no smaller; LOOKED_UP, it is part `table`'s. A table is, too, or, where OWN_LEVELS, an array of the lane's.
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64
// dispatch: one workgroup for 8 WORKGROUP rows x TOKENS tokens, rows first, folded over x and y
// parts:    weights, table, quads
// spec:     matmul() in lib/linear_reference.ts

override OWN_LEVELS: bool = false;

override ROW_FOURS: u32 = 8u * UNITS;

@group(0) @binding(4) var<storage, read> x: array<vec4f>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<uniform> step: vec4u;

// Magnitude of a bit decode, its bits moved left (right where negative) to bit 22 and up.
fn magnitude(word: u32, left: i32) -> f32 {
  let moved = select(word >> u32(max(-left, 0)), word * (1u << u32(max(left, 0))), left >= 0);
  let f = bitcast<f32>((moved & select(0x01800000u, 0x01c00000u, DECODE == 0u)) + 0x38000000u);
  let above = f - 0x1p-14;
  return f + 0.5 * (above - abs(above));
}

// A weight by a bit decode, its sign at bit `sign` of the word.
fn weight(word: u32, left: i32, sign: u32, scale: vec2f) -> f32 {
  let below = select(-scale.x, -scale.y, SCALING == 1u);
  if (LOOKED_UP) {
    let low = u32(select(22, 23, DECODE == 1u) - left);
    return magnitude_of(word >> low) * select(scale.x, below, (word & (1u << sign)) != 0u);
  }
  return magnitude(word, left) * select(scale.x, below, (word & (1u << sign)) != 0u);
}

var<private> levels: array<f32, 16>;

// Gives a lane levels of its own: a barrier would cost a CPU more.
fn load_levels() {
  for (var i = 0u; i < 16u; i++) { levels[i] = codebook.levels[i / 4u][i % 4u]; }
}

// Level of code j of the four in the low bits of a word, moved down as the mantissa of an f32.
fn level(four: u32, j: u32) -> f32 {
  let mask = (1u << BITS) - 1u;
  let code = bitcast<f32>((four & (mask << (BITS * j))) + 0x4b000000u) - 0x1p23;
  let down = bitcast<f32>((127u - BITS * j) << 23u);
  return levels[bitcast<u32>(code * down + 0x1p23) & mask];
}

fn four_levels(four: u32) -> vec4f {
  return vec4f(level(four, 0u), level(four, 1u), level(four, 2u), level(four, 3u));
}

// The eight weights of a word; codebook.factor is still to come.
fn weights8(word: u32, s: vec2f) -> Eight {
  if (DECODE == 0u) {
    return Eight(
      vec4f(weight(word, 13, 15u, s), weight(word, -3, 31u, s), weight(word, 16, 12u, s), weight(word, 0, 28u, s)),
      vec4f(weight(word, 19, 14u, s), weight(word, 3, 30u, s), weight(word, 22, 13u, s), weight(word, 6, 29u, s)),
    );
  }
  if (DECODE == 1u) {
    return Eight(
      vec4f(weight(word, 13, 15u, s), weight(word, -3, 31u, s), weight(word, 15, 13u, s), weight(word, -1, 29u, s)),
      vec4f(weight(word, 21, 7u, s), weight(word, 5, 23u, s), weight(word, 23, 5u, s), weight(word, 7, 21u, s)),
    );
  }
  if (!OWN_LEVELS) {
    return Eight(
      weigh(vec4f(lookup(word, 0u), lookup(word, 1u)), s),
      weigh(vec4f(lookup(word, 2u), lookup(word, 3u)), s),
    );
  }
  return Eight(weigh(four_levels(word), s), weigh(four_levels(word >> (4u * BITS)), s));
}

fn load_pairs(rows: vec4u, group: u32) -> mat4x2f {
  return mat4x2f(
    load_scales(rows.x, group),
    load_scales(rows.y, group),
    load_scales(rows.z, group),
    load_scales(rows.w, group),
  );
}

// Word i of the units of four rows: one at a time, since whole units of eight rows are more than registers
// hold. The fourth of 3 bits is in `woven`.
fn words_of(rows: vec4u, unit: u32, i: u32, woven: vec4u) -> vec4u {
  let at = rows * UNITS + unit;
  if (BITS == 4u) { return vec4u(codes4[at.x][i], codes4[at.y][i], codes4[at.z][i], codes4[at.w][i]); }
  let j = min(i, 2u);
  let words = vec4u(codes[3u * at.x + j], codes[3u * at.y + j], codes[3u * at.z + j], codes[3u * at.w + j]);
  return select(words, woven, i == 3u);
}

// What word i, of 3 bits, holds of the fourth.
fn woven_in(words: vec4u, i: u32) -> vec4u {
  if (DECODE == 2u) { return (words >> vec4u(24u)) << vec4u(8u * i); }
  let mask = select(select(0x05050505u, 0x0a0a0a0au, i == 1u), 0xa0a0a0a0u, i == 0u);
  return select((words >> vec4u(4u - i % 2u)), (words << vec4u(1u)), i == 0u) & vec4u(mask);
}

// The weights of a word of four rows.
fn four_rows(words: vec4u, scales: mat4x2f) -> FourRows {
  let a = weights8(words.x, scales[0]);
  let b = weights8(words.y, scales[1]);
  let c = weights8(words.z, scales[2]);
  let d = weights8(words.w, scales[3]);
  return FourRows(
    transpose(mat4x4f(a.lo, b.lo, c.lo, d.lo)),
    transpose(mat4x4f(a.hi, b.hi, c.hi, d.hi)),
  );
}

// The scales of a lane's eight rows.
struct Scales {
  low: mat4x2f,
  high: mat4x2f,
}

fn load_eight(place: Place, group: u32) -> Scales {
  return Scales(load_pairs(place.low, group), load_pairs(place.high, group));
}

// One unit of the eight rows. Groups of 128 columns and more come with their scales, which of 16 change
// half-way.
fn add_unit(place: Place, unit: u32, scales: Scales) {
  let group = unit * 32u / GROUP;
  var s = scales;
  if (GROUP < 128u) { s = load_eight(place, group); }
  var woven_low = vec4u(0u);
  var woven_high = vec4u(0u);
  for (var i = 0u; i < step.w; i++) {
    if (GROUP < 32u && i == 2u) { s = load_eight(place, min(group + 1u, GROUPS - 1u)); }
    let low = words_of(place.low, unit, i, woven_low);
    let high = words_of(place.high, unit, i, woven_high);
    if (BITS == 3u) {
      woven_low |= woven_in(low, i);
      woven_high |= woven_in(high, i);
    }
    add(place, 8u * unit + 2u * i, four_rows(low, s.low), four_rows(high, s.high));
  }
}

// A sum with what is still to be multiplied.
fn finished(row: u32, sum: f32) -> f32 {
  let whole = sum * codebook.factor.x * codebook.factor.y;
  if (SCALE_BITS < 16u) { return whole * row_factor(row); }
  return whole;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block_id: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) own: u32,
) {
  if (DECODE == 2u && OWN_LEVELS) { load_levels(); }
  if (LOOKED_UP || (DECODE == 2u && !OWN_LEVELS)) { load_table(lane, WORKGROUP); }

  let tile = block_id.y * blocks.x + block_id.x;
  if (first_token(tile, ROWS) >= step.x) { return; }
  let mine = place_of(tile, ROWS, lane, own);

  // loop over the units: four to a flush, 64 to a block
  for (var far = 0u; far < UNITS; far += 64u) {
    for (var near = far; near < min(far + 64u, UNITS); near += 4u) {
      let scales = load_eight(mine, near * 32u / GROUP);
      for (var unit = near; unit < min(near + 4u, UNITS); unit++) { add_unit(mine, unit, scales); }
      flush();
    }
    write(mine, ROWS, far > 0u);
  }
}
