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

override BIAS: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;
override ADD: bool = false;
override OWN_LEVELS: bool = false;

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

// The units of four rows.
struct Units {
  a: vec4u,
  b: vec4u,
  c: vec4u,
  d: vec4u,
}

fn load_units(rows: vec4u, unit: u32) -> Units {
  return Units(
    load_unit(rows.x, unit),
    load_unit(rows.y, unit),
    load_unit(rows.z, unit),
    load_unit(rows.w, unit),
  );
}

fn load_pairs(rows: vec4u, group: u32) -> mat4x2f {
  return mat4x2f(
    load_scales(rows.x, group),
    load_scales(rows.y, group),
    load_scales(rows.z, group),
    load_scales(rows.w, group),
  );
}

// The weights of word i of four units.
fn four_rows(units: Units, i: u32, scales: mat4x2f) -> FourRows {
  let a = weights8(units.a[i], scales[0]);
  let b = weights8(units.b[i], scales[1]);
  let c = weights8(units.c[i], scales[2]);
  let d = weights8(units.d[i], scales[3]);
  return FourRows(
    transpose(mat4x4f(a.lo, b.lo, c.lo, d.lo)),
    transpose(mat4x4f(a.hi, b.hi, c.hi, d.hi)),
  );
}

// Adds eight columns of a quad of tokens, this lane's among them; those beyond the last repeat it.
fn add_token(quad: u32, mine: u32, at: u32, a: FourRows, b: FourRows) {
  let start = 8u * UNITS * min(mine + 4u * quad, step.x - 1u) + at;
  add_quad(quad, x[start], x[start + 1u], a, b);
}

fn add(mine: u32, at: u32, a: FourRows, b: FourRows) {
  add_token(0u, mine, at, a, b);
  if (TOKENS > 4u) { add_token(1u, mine, at, a, b); }
  if (TOKENS > 8u) {
    add_token(2u, mine, at, a, b);
    add_token(3u, mine, at, a, b);
  }
}

// One unit of the eight rows; a group of 16 columns has its own scales in the unit's second half.
fn add_unit(low: vec4u, high: vec4u, unit: u32, mine: u32) {
  let a = load_units(low, unit);
  let b = load_units(high, unit);
  let group = unit * 32u / GROUP;
  var s = load_pairs(low, group);
  var t = load_pairs(high, group);
  for (var i = 0u; i < step.w; i++) {
    if (GROUP < 32u && i == 2u) {
      s = load_pairs(low, min(group + 1u, GROUPS - 1u));
      t = load_pairs(high, min(group + 1u, GROUPS - 1u));
    }
    add(mine, 8u * unit + 2u * i, four_rows(a, i, s), four_rows(b, i, t));
  }
}

// Adds a sum to what earlier columns came to, if there are any.
fn put(row: u32, token: u32, sum: f32, more: bool) {
  if (row < ROWS && token < step.x) {
    let at = FIRST_ROW + row;
    let out = token * OUT_ROWS + at;
    var scaled = sum * codebook.factor.x * codebook.factor.y;
    if (SCALE_BITS < 16u) { scaled *= row_factor(row); }
    var start = 0.0;
    if (BIAS) { start = select(bias[at], 0.0, more); }
    y[out] = select(0.0, y[out], ADD || (UNITS > 64u && more)) + (scaled + start);
  }
}

fn put_four(row: u32, token: u32, sums: vec4f, more: bool) {
  put(row, token, sums.x, more);
  put(row + WORKGROUP, token, sums.y, more);
  put(row + 2u * WORKGROUP, token, sums.z, more);
  put(row + 3u * WORKGROUP, token, sums.w, more);
}

// Writes the block and clears it.
fn write(first_row: u32, first: u32, place: u32, more: bool) {
  for (var i = 0u; i < TOKENS * step.w / 8u; i++) {
    let sums = block[i];
    let row = first_row + 4u * WORKGROUP * (i % 2u);
    let token = first + 4u * (i / 2u);
    put_four(row, token + place, sums[0], more);
    put_four(row, token + (place ^ 1u), sums[1], more);
    put_four(row, token + (place ^ 2u), sums[2], more);
    put_four(row, token + (place ^ 3u), sums[3], more);
    block[i] = mat4x4f();
  }
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

  // the rows and tokens that are mine; those beyond the last repeat it
  let tiles = (ROWS + 8u * WORKGROUP - 1u) / (8u * WORKGROUP);
  let tile = block_id.y * blocks.x + block_id.x;
  let first_row = 8u * WORKGROUP * (tile % tiles) + lane;
  let first = TOKENS * (tile / tiles);
  if (first >= step.x) { return; } // uniform over the workgroup
  let low = vec4u(first_row) + WORKGROUP * vec4u(0u, 1u, 2u, 3u);
  let high = low + 4u * WORKGROUP;
  let last = vec4u(ROWS - 1u);

  // loop over the units: four to a flush, 64 to a block
  for (var far = 0u; far < UNITS; far += 64u) {
    for (var near = far; near < min(far + 64u, UNITS); near += 4u) {
      for (var unit = near; unit < min(near + 4u, UNITS); unit++) {
        add_unit(min(low, last), min(high, last), unit, first + own % 4u);
      }
      flush();
    }
    write(first_row, first, own % 4u, far > 0u);
  }
}
