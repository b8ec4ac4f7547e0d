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
// parts:    weights, half_table, lines
// spec:     matvec() in lib/linear_reference.ts

enable f16;

override STAGED: bool = true;

@group(0) @binding(4) var<storage, read> half_x: array<vec4u>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read> factors: array<f32>;

// The lane's activations of one unit, [BATCH, 4] vec4u.
var<private> tokens: array<vec4u, 8>;
// Those of a step, [BATCH, SPAN, 5]: the fifth keeps lanes off each other's banks.
override EIGHTS: u32 = select(1u, BATCH * SPAN * 5u, STAGED);
var<workgroup> stage: array<vec4u, EIGHTS>;

// Activations of units first .. first + SPAN to workgroup memory, zeros beyond the last.
fn fill_stage(first: u32, lane: u32) {
  for (var token = 0u; token < BATCH; token++) {
    for (var i = lane; i < 4u * SPAN; i += WORKGROUP) {
      let unit = first + i / 4u;
      let at = 4u * token * UNITS + min(4u * first + i, 4u * UNITS - 1u);
      stage[5u * SPAN * token + i + i / 4u] = select(vec4u(0u), half_x[at], unit < UNITS);
    }
  }
}

// Takes the lane's activations of a unit, zeros beyond the last; STAGED, from place `home` of the stage.
fn take_tokens(unit: u32, home: u32) {
  for (var token = 0u; token < BATCH; token++) {
    for (var i = 0u; i < 4u; i++) {
      if (STAGED) { tokens[4u * token + i] = stage[5u * SPAN * token + home + i]; }
      else {
        let eight = half_x[4u * (token * UNITS + min(unit, UNITS - 1u)) + i];
        tokens[4u * token + i] = select(vec4u(0u), eight, unit < UNITS);
      }
    }
  }
}

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

// The same over one unit; groups of 16 columns have two in it. `at` is of the row's first unit and group.
fn unit_sum(words: vec4u, at: vec2u, unit: u32, token: u32) -> f32 {
  let group = unit * 32u / GROUP;
  if (GROUP >= 32u) { return group_sum(words, 0u, 4u, scales_at(at.y, group), token); }
  let last = min(group + 1u, GROUPS - 1u); // a short last unit has one group
  return group_sum(words, 0u, 2u, scales_at(at.y, group), token) +
    group_sum(words, 2u, 2u, scales_at(at.y, last), token);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) ids: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  load_table(lane, WORKGROUP);

  // the rows and columns that are mine
  let block = (id.y * ids.x + id.x) / SPLIT;
  let part = (id.y * ids.x + id.x) % SPLIT;
  let across = lane % SPAN;
  var rows: array<vec2u, 16>; // first unit and first group of each
  for (var r = 0u; r < TALL; r++) {
    let row = row_of(block * LINES + lane / SPAN, r);
    rows[r] = vec2u(row * UNITS, first_group(row));
  }

  // loop over the columns, a unit a lane and step; eight are summed before they join the total
  var total = array<f32, 16>();
  for (var first = part * SPAN; first < UNITS; ) {
    var recent = array<f32, 16>();
    for (var i = 0u; i < 8u && first < UNITS; i++) {
      if (STAGED) {
        fill_stage(first, lane);
        workgroupBarrier();
      }
      take_tokens(first + across, 5u * across);
      let unit = min(first + across, UNITS - 1u);
      for (var r = 0u; r < TALL; r++) {
        let words = unit_at(rows[r].x + unit);
        for (var token = 0u; token < BATCH; token++) {
          recent[token * TALL + r] += unit_sum(words, rows[r], unit, token);
        }
      }
      if (STAGED) { workgroupBarrier(); }
      first += SPAN * SPLIT;
    }
    for (var i = 0u; i < TALL * BATCH; i++) { total[i] += recent[i]; }
  }

  // add up the lanes of a line and write
  for (var r = 0u; r < TALL; r++) {
    var factor = 1.0;
    if (SCALE_BITS < 16u) { factor = row_factor(row_of(block * LINES + lane / SPAN, r)); }
    for (var token = 0u; token < BATCH; token++) {
      leave(lane, r, token, total[token * TALL + r] * factors[token] * factor);
    }
  }
  workgroupBarrier();
  let once = select(1.0, 0.5, SCALING == 1u);
  write(block, part, lane, vec2f(codebook.factor.x * once, codebook.factor.y));
}
