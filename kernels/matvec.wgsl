// matvec: y = W x + b for one token or two, W packed.
//
//   codes, codes4, scales, codebook       see parts/weights: bindings 0 to 3
//   x     [BATCH, UNITS * 32] as vec4f    f32   a row ends in zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [BATCH, OUT_ROWS]               f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to
//                                               where ADD; where GATED the first half of W's rows are gates
//                                               and the second half ups: y [BATCH, ROWS / 2] = silu(gate) * up
//
// Two scales without a choice for each weight: with level v, w = a v + b |v|, a = (s_pos + s_neg) / 2,
// b = (s_pos - s_neg) / 2, so a group needs sum v x and sum |v| x and one look at its scales. On the
// side of the smaller scale the two cancel, hence the bound: against f64,
//   |y - ref| <= 16 * 2^-24 * sum |x| |level| max(s_pos, s_neg)     with two scales
//   |y - ref| <= 16 * 2^-24 * sum |x w|                             otherwise
// Sums go up in steps (4, 8, lanes, 8, tree) so that the bound does not grow with COLS.
//
// dispatch: one workgroup for ROWS / 4 rows, folded over x and y; its lanes stride over the units
// parts:    weights, reduce
// spec:     matvec() in lib/linear_reference.ts

override BATCH: u32 = 1;
override BIAS: bool = false;
override ADD: bool = false;
override GATED: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;

@group(0) @binding(4) var<storage, read> x: array<vec4f>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

// The lane's activations of one unit, [BATCH, 8] vec4f, shared by four rows.
var<private> tokens: array<vec4f, 16>;

// sum w x over `words` words of eight columns, for each token; the first word is at column 8 word.
fn group_sum(units: vec4u, word: u32, words: u32, scale: vec2f) -> vec2f {
  var even = array<vec4f, 2>();  // sum v x, by column modulo 4
  var size = array<vec4f, 2>();  // sum |v| x
  for (var i = word; i < word + words; i++) {
    var v = decode8(units[i]);
    if (SCALING == 2u) { v = Eight(v.lo - scale.y, v.hi - scale.y); }
    for (var token = 0u; token < BATCH; token++) {
      let lo = tokens[8u * token + 2u * i];
      let hi = tokens[8u * token + 2u * i + 1u];
      even[token] = fma(v.lo, lo, even[token]);
      even[token] = fma(v.hi, hi, even[token]);
      if (SCALING == 1u) {
        size[token] = fma(abs(v.lo), lo, size[token]);
        size[token] = fma(abs(v.hi), hi, size[token]);
      }
    }
  }
  let all = vec4f(1.0);
  let sums = vec2f(dot(even[0], all), dot(even[1], all));
  if (SCALING != 1u) { return sums * scale.x; }
  let sizes = vec2f(dot(size[0], all), dot(size[1], all));
  return sums * (0.5 * (scale.x + scale.y)) + sizes * (0.5 * (scale.x - scale.y));
}

// sum w x over one unit of one row, for each token.
fn unit_sum(row: u32, unit: u32) -> vec2f {
  let words = load_unit(row, unit);
  let group = unit * 32u / GROUP;
  if (GROUP >= 32u) { return group_sum(words, 0u, 4u, load_scales(row, group)); }
  let last = min(group + 1u, GROUPS - 1u); // a short last unit has one group
  return group_sum(words, 0u, 2u, load_scales(row, group)) +
    group_sum(words, 2u, 2u, load_scales(row, last));
}

// Row r of the four that a workgroup sums: in turn, or two gates and their two ups.
fn row_of(first: u32, r: u32) -> u32 {
  if (GATED) { return min(first / 2u + r % 2u, ROWS / 2u - 1u) + r / 2u * (ROWS / 2u); }
  return min(first + r, ROWS - 1u);
}

// Writes the sums of four rows: a lane a row, or a lane a gate and its up.
fn write(token: u32, first: u32, lane: u32, sums: vec4f) {
  if (GATED) {
    let row = first / 2u + lane;
    if (lane < 2u && row < ROWS / 2u) {
      let gate = sums[lane];
      y[token * OUT_ROWS + row] = gate / (1.0 + exp(-gate)) * sums[lane + 2u];
    }
    return;
  }
  let row = first + lane;
  if (lane < 4u && row < ROWS) {
    let at = FIRST_ROW + row;
    let sum = sums[lane] + select(0.0, bias[at], BIAS);
    y[token * OUT_ROWS + at] = select(0.0, y[token * OUT_ROWS + at], ADD) + sum;
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  load_table(lane, WORKGROUP);

  // the four rows that are mine; those beyond the last repeat it and are not written
  let first = 4u * (block.y * blocks.x + block.x);
  if (first >= ROWS) { return; } // uniform over the workgroup

  // loop over the columns; eight units are summed before they join the total
  var total = array<vec4f, 2>();
  var eight = array<vec4f, 2>();
  var count = 0u;
  for (var unit = lane; unit < UNITS; unit += WORKGROUP) {
    for (var token = 0u; token < BATCH; token++) {
      for (var i = 0u; i < 8u; i++) {
        tokens[8u * token + i] = x[8u * (token * UNITS + unit) + i];
      }
    }
    for (var r = 0u; r < 4u; r++) {
      let sums = unit_sum(row_of(first, r), unit);
      eight[0][r] += sums.x;
      eight[1][r] += sums.y;
    }
    count++;
    if (count % 8u == 0u) {
      total[0] += eight[0];
      total[1] += eight[1];
      eight = array<vec4f, 2>();
    }
  }

  // reduce over the lanes and write
  for (var token = 0u; token < BATCH; token++) {
    let sums = reduce(lane, total[token] + eight[token]) * codebook.factor.x * codebook.factor.y;
    write(token, first, lane, sums);
  }
}
