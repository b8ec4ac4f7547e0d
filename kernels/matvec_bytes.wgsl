// matvec_bytes: y = W x + b for one token or two, W packed, x as bytes: `--accuracy fast`.
//
//   codes, codes4, scales, codebook       see parts/weights: bindings 0 to 3
//   byte_x   [BATCH, UNITS, 3] as vec4u   i8    as byte_tokens.wgsl left them
//   bias     [FIRST_ROW + ROWS ..]        f32   read only where BIAS
//   y        [BATCH, OUT_ROWS]            f32   see parts/lines
//
// For formats whose levels are whole numbers of steps that fit a byte. A group's products, its positive
// weights' and its negative ones' apart where they have scales of their own, are summed as integers, exact:
// |sum| <= 32 * 127 * 127. What is lost is what activations lose. With m the largest |x| of a unit, against f64,
//   |y - ref| <= sum over units (m / 253 + 2^-119) sum |w|
// of which m / 254 is for activations that are rounded, and the rest for f32.
//
// dispatch: SPLIT workgroups for LINES * TALL rows, folded over x and y
// parts:    weights, byte_table, fold, lines, rows, columns
// spec:     matvec() in lib/linear_reference.ts

alias Piece = vec4u;
const PIECES: u32 = 3;
const STRIDE: u32 = 3;

@group(0) @binding(4) var<storage, read> byte_x: array<vec4u>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

// Bytes of the eight columns of a word.
fn token_bytes(word: u32, token: u32) -> vec2u {
  let four = tokens[PIECES * token + word / 2u];
  return select(four.xy, four.zw, word % 2u == 1u);
}

fn add_bytes(v: vec2u, t: vec2u, sum: i32) -> i32 {
  return dot4I8Packed(v.y, t.y) + (dot4I8Packed(v.x, t.x) + sum);
}

// What a code of 0 stands for, in bytes below 0.
fn zero_of(scale: vec2f) -> f32 {
  if (SCALING == 2u) { return scale.y * STEPS; }
  return -codebook.levels[0].x;
}

// sum w x over `words` words of eight columns, in steps of x and of levels.
fn group_sum(units: vec4u, word: u32, words: u32, scale: vec2f, token: u32) -> f32 {
  var above = 0i;
  var below = 0i;
  var all = 0i; // sum x
  for (var i = word; i < word + words; i++) {
    let v = bytes8(units[i]);
    let t = token_bytes(i, token);
    above = add_bytes(v.above, t, above);
    if (SCALING == 1u) { below = add_bytes(v.below, (t << vec2u(16u)) | (t >> vec2u(16u)), below); }
    if (SCALING == 2u || RUN) { all = add_bytes(vec2u(0x01010101u), t, all); }
  }
  if (SCALING == 1u) { return fma(f32(above), scale.x, f32(below) * scale.y); }
  if (SCALING == 2u || RUN) { return fma(-zero_of(scale), f32(all), f32(above)) * scale.x; }
  return f32(above) * scale.x;
}

// What parts/columns asks for: thirds of a unit.
fn piece_at(i: u32) -> Piece { return byte_x[i]; }

fn factor_of(token: u32) -> f32 { return 1.0; }

// What parts/rows asks for: a unit's sum times its step, the first number of the third piece.
fn add_unit(recent: f32, sum: f32, token: u32) -> f32 {
  return fma(sum, bitcast<f32>(tokens[PIECES * token + 2u].x), recent);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) ids: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  multiply(id, ids, lane, step_factor());
}
