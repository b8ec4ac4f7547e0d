// matvec: y = W x + b for one token or two, W packed.
//
//   codes, codes4, scales, codebook       see parts/weights: bindings 0 to 3
//   x     [BATCH, UNITS * 32] as vec4f    f32   a row ends in zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [BATCH, OUT_ROWS]               f32   see parts/lines
//
// A lane takes one unit of x into registers and multiplies it with that unit of TALL rows. STAGED, the
// workgroup first copies the units of a step to workgroup memory, since lanes that each read 128 bytes
// at a stride of 128 waste most of what a cache of a GPU hands out; a CPU does not care.
//
// Two scales without a choice for each weight: with level v, w = (a v + b |v|) / 2, a = s_pos + s_neg,
// b = s_pos - s_neg, so a group needs sum v x and sum |v| x and one look at its scales. On the side of
// the smaller scale the two cancel, hence the bound: against f64,
//   |y - ref| <= 16 * 2^-24 * sum |x| |level| max(s_pos, s_neg)     with two scales
//   |y - ref| <= 16 * 2^-24 * sum |x w|                             otherwise
// Sums go up in steps (16, 2, 8 units, all units of a lane, 8 lanes, all) so that it does not grow with COLS.
//
// dispatch: SPLIT workgroups for LINES * TALL rows, folded over x and y
// parts:    weights, table, lines
// spec:     matvec() in lib/linear_reference.ts

override STAGED: bool = true;

@group(0) @binding(4) var<storage, read> x: array<vec4f>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

// The lane's activations of one unit, [BATCH, 8] vec4f.
var<private> tokens: array<vec4f, 16>;
// Those of a step, [BATCH, SPAN, 9]: the ninth keeps lanes off each other's banks.
override FOURS: u32 = select(1u, BATCH * SPAN * 9u, STAGED);
var<workgroup> stage: array<vec4f, FOURS>;

// Activations of units first .. first + SPAN to workgroup memory, zeros beyond the last.
fn fill_stage(first: u32, lane: u32, seat: u32) {
  let whole = UNITS % SPAN == 0u || first + SPAN <= UNITS;
  for (var token = 0u; token < BATCH; token++) {
    let source = 8u * (token * UNITS + first) + lane;
    for (var i = 0u; i < 8u * SPAN; i += WORKGROUP) {
      if (8u * SPAN % WORKGROUP != 0u && i + lane >= 8u * SPAN) { continue; }
      let to = 9u * SPAN * token + i + i / 8u + seat;
      if (whole) { stage[to] = x[source + i]; }
      else if (first + (i + lane) / 8u < UNITS) { stage[to] = x[source + i]; }
      else { stage[to] = vec4f(0.0); }
    }
  }
}

// Takes the lane's activations of a unit, zeros beyond the last; STAGED, from place `home` of the stage.
fn take_tokens(unit: u32, home: u32) {
  for (var token = 0u; token < BATCH; token++) {
    for (var i = 0u; i < 8u; i++) {
      if (STAGED) { tokens[8u * token + i] = stage[9u * SPAN * token + home + i]; }
      else {
        let four = x[8u * (token * UNITS + min(unit, UNITS - 1u)) + i];
        tokens[8u * token + i] = select(vec4f(0.0), four, unit < UNITS);
      }
    }
  }
}

fn add_four(v: vec4f, t: vec4f, sum: f32) -> f32 {
  return fma(v.w, t.w, fma(v.z, t.z, fma(v.y, t.y, fma(v.x, t.x, sum))));
}

fn add_products(p: vec4f, sum: f32) -> f32 {
  return (((sum + p.x) + p.y) + p.z) + p.w;
}

// group_sum() with two scales where magnitudes are looked up: |v| x serves both sums.
fn group_sum_by_size(units: vec4u, word: u32, words: u32, scale: vec2f, token: u32) -> f32 {
  var low = 0.0;
  var high = 0.0;
  var low_size = 0.0;
  var high_size = 0.0;
  for (var i = word; i < word + words; i++) {
    let sizes = magnitudes8(units[i]);
    let signs = signs8(units[i]);
    let lo = sizes.lo * tokens[8u * token + 2u * i];
    let hi = sizes.hi * tokens[8u * token + 2u * i + 1u];
    low_size = add_products(lo, low_size);
    high_size = add_products(hi, high_size);
    low = add_products(signed(lo, signs.lo), low);
    high = add_products(signed(hi, signs.hi), high);
  }
  return fma(low + high, scale.x + scale.y, (low_size + high_size) * (scale.x - scale.y));
}

// sum w x over `words` words of eight columns; with two scales, twice that.
fn group_sum(units: vec4u, word: u32, words: u32, scale: vec2f, token: u32) -> f32 {
  if (LOOKED_UP && DECODE != 2u && SCALING == 1u) {
    return group_sum_by_size(units, word, words, scale, token);
  }
  var low = 0.0;   // sum v x of the first four columns of each word
  var high = 0.0;  // of the last four
  var low_size = 0.0;
  var high_size = 0.0;
  for (var i = word; i < word + words; i++) {
    var v = decode8(units[i]);
    if (SCALING == 2u) { v = Eight(v.lo - scale.y, v.hi - scale.y); }
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
  let seat = lane + lane / 8u;
  let home = 9u * across;
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
        fill_stage(first, lane, seat);
        workgroupBarrier();
      }
      take_tokens(first + across, home);
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
      leave(lane, r, token, total[token * TALL + r] * factor);
    }
  }
  workgroupBarrier();
  let once = select(1.0, 0.5, SCALING == 1u);
  write(block, part, lane, vec2f(codebook.factor.x * once, codebook.factor.y));
}
