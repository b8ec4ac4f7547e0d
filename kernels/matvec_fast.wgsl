// matvec_fast: y = W x + b for one token or two, W packed, in f16 arithmetic: `--accuracy fast`.
//
//   codes, codes4, scales, codebook       see parts/weights: bindings 0 to 3
//   half_x   [BATCH, UNITS * 4] as vec4u  f16   as halve_tokens.wgsl left them
//   bias     [FIRST_ROW + ROWS ..]        f32   read only where BIAS
//   y        [BATCH, OUT_ROWS]            f32   see parts/lines
//   factors  [BATCH]                      f32   what makes up for the powers of two in half_x
//
// As in matvec a group needs sum v x and, with two scales, sum |v| x. Here both go two columns at a time
// in f16, at most 17 additions long, and from there on in f32. The bits of an FP code, moved to their
// places, are an f16 already; levels of a table are rounded to f16. So, with S the larger of a group's
// scales and m the largest |x| of the token, against f64,
//   |y - ref| <= 20 * 2^-11 * sum |x level| S + 2^-24 m sum S
//
// dispatch: SPLIT workgroups for LINES * TALL rows, folded over x and y
// parts:    weights, half_table, fold, lines, rows, columns
// spec:     matvec() in lib/linear_reference.ts

enable f16;

alias Piece = vec4u;
const PIECES: u32 = 4;
const STRIDE: u32 = 5;

@group(0) @binding(4) var<storage, read> half_x: array<vec4u>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read> factors: array<f32>;

fn add_two(v: u32, t: u32, sum: vec2h) -> vec2h {
  return fma(bitcast<vec2h>(v), bitcast<vec2h>(t), sum);
}

// sum w x over `words` words of eight columns; with two scales, twice that.
fn group_sum(units: vec4u, word: u32, words: u32, scale: vec2f, token: u32) -> f32 {
  var sums = vec2h(0.0h);   // v x of even columns and of odd ones
  var sizes = vec2h(0.0h);  // |v| x
  for (var i = word; i < word + words; i++) {
    let v = levels8(units[i], scale.y);
    let t = tokens[4u * token + i];
    sums = add_two(v.signed.w, t.w, add_two(v.signed.z, t.z, add_two(v.signed.y, t.y, add_two(v.signed.x, t.x, sums))));
    if (SCALING == 1u) {
      sizes = add_two(v.size.w, t.w, add_two(v.size.z, t.z, add_two(v.size.y, t.y, add_two(v.size.x, t.x, sizes))));
    }
  }
  let sum = f32(sums.x + sums.y);
  if (SCALING != 1u) { return sum * scale.x; }
  return fma(sum, scale.x + scale.y, f32(sizes.x + sizes.y) * (scale.x - scale.y));
}

// What parts/columns asks for: eights of columns.
fn piece_at(i: u32) -> Piece { return half_x[i]; }

fn factor_of(token: u32) -> f32 { return factors[token]; }

// What parts/rows asks for.
fn add_unit(recent: f32, sum: f32, token: u32) -> f32 { return recent + sum; }

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) ids: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  multiply(id, ids, lane, select(1.0, 0.5, SCALING == 1u));
}
