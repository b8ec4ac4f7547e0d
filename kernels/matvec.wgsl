// matvec: y = W x + b for one token or two, W packed.
//
//   codes, codes4, scales, codebook       see parts/weights: bindings 0 to 3
//   x     [BATCH, UNITS * 32] as vec4f    f32   a row ends in zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [BATCH, OUT_ROWS]               f32   see parts/lines
//
// Two scales without a choice for each weight: with level v, w = (a v + b |v|) / 2, a = s_pos + s_neg,
// b = s_pos - s_neg, so a group needs sum v x and sum |v| x and one look at its scales. On the side of
// the smaller scale the two cancel, hence the bound: against f64,
//   |y - ref| <= 16 * 2^-24 * sum |x| |level| max(s_pos, s_neg)     with two scales
//   |y - ref| <= 16 * 2^-24 * sum |x w|                             otherwise
// Sixteen products are added in a row, then two such sums, then units by the steps of parts/columns.
//
// dispatch: SPLIT workgroups for LINES * TALL rows, folded over x and y
// parts:    weights, table, fold, lines, rows, columns
// spec:     matvec() in lib/linear_reference.ts

alias Piece = vec4f;
const PIECES: u32 = 8;
const STRIDE: u32 = 9;

@group(0) @binding(4) var<storage, read> x: array<vec4f>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

fn add_four(v: vec4f, t: vec4f, sum: f32) -> f32 {
  return fma(v.w, t.w, fma(v.z, t.z, fma(v.y, t.y, fma(v.x, t.x, sum))));
}

// sum w x over `words` words of eight columns; with two scales, twice that.
fn group_sum(units: vec4u, word: u32, words: u32, scale: vec2f, token: u32) -> f32 {
  var low = 0.0;   // sum v x of the first four columns of each word
  var high = 0.0;  // of the last four
  var low_size = 0.0;
  var high_size = 0.0;
  for (var i = word; i < word + words; i++) {
    let v = decode8(units[i], scale.y);
    let lo = tokens[8u * token + 2u * i];
    let hi = tokens[8u * token + 2u * i + 1u];
    low = add_four(v.lo, lo, low);
    high = add_four(v.hi, hi, high);
    if (SCALING == 1u) {
      low_size = add_four(abs(v.lo), lo, low_size);
      high_size = add_four(abs(v.hi), hi, high_size);
    }
  }
  let sum = low + high;
  if (SCALING != 1u) { return sum * scale.x; }
  return fma(sum, scale.x + scale.y, (low_size + high_size) * (scale.x - scale.y));
}

// What parts/columns asks for: fours of columns.
fn piece_at(i: u32) -> Piece { return x[i]; }

fn factor_of(token: u32) -> f32 { return 1.0; }

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
