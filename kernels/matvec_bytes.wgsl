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
// parts:    weights, byte_table, lines
// spec:     matvec() in lib/linear_reference.ts

override STAGED: bool = true;

@group(0) @binding(4) var<storage, read> byte_x: array<vec4u>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

// The lane's activations of one unit, [BATCH, 3] vec4u, and those of a step, [BATCH, SPAN, 3].
var<private> tokens: array<vec4u, 6>;
override THIRDS: u32 = select(1u, BATCH * SPAN * 3u, STAGED);
var<workgroup> stage: array<vec4u, THIRDS>;

// Activations of units first .. first + SPAN to workgroup memory, zeros beyond the last.
fn fill_stage(first: u32, lane: u32) {
  for (var token = 0u; token < BATCH; token++) {
    for (var i = lane; i < 3u * SPAN; i += WORKGROUP) {
      let at = min(3u * first + i, 3u * UNITS - 1u);
      stage[3u * SPAN * token + i] = select(vec4u(0u), byte_x[3u * token * UNITS + at], at == 3u * first + i);
    }
  }
}

// Takes the lane's activations of a unit, zeros beyond the last; STAGED, from place `home` of the stage.
fn take_tokens(unit: u32, home: u32) {
  for (var token = 0u; token < BATCH; token++) {
    for (var i = 0u; i < 3u; i++) {
      if (STAGED) { tokens[3u * token + i] = stage[3u * SPAN * token + home + i]; }
      else {
        let third = byte_x[3u * (token * UNITS + min(unit, UNITS - 1u)) + i];
        tokens[3u * token + i] = select(vec4u(0u), third, unit < UNITS);
      }
    }
  }
}

// Bytes of the eight columns of a word.
fn token_bytes(word: u32, token: u32) -> vec2u {
  let four = tokens[3u * token + word / 2u];
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
      take_tokens(first + across, 3u * across);
      let unit = min(first + across, UNITS - 1u);
      for (var r = 0u; r < TALL; r++) {
        let words = unit_at(rows[r].x + unit);
        for (var token = 0u; token < BATCH; token++) {
          let step = bitcast<f32>(tokens[3u * token + 2u].x);
          let sum = unit_sum(words, rows[r], unit, token);
          recent[token * TALL + r] = fma(sum, step, recent[token * TALL + r]);
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
  write(block, part, lane, vec2f(codebook.factor.x * step_factor(), codebook.factor.y));
}
