// matmul_quads: Y = X W^T + b for many tokens, W packed: matmul for devices that are a CPU.
//
//   codes, codes4, scales, codebook       see parts/weights: bindings 0 to 3
//   x     [tokens, UNITS * 32] as vec4f   f32   a row ends in zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to where ADD
//   step  tokens, -, -, 4                 u32   a uniform; the fourth is the words of a unit, a number that
//                                               compilers do not know and so do not unroll by
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64
// dispatch: one workgroup for 4 WORKGROUP rows x 16 tokens, rows first, folded over x and y
// parts:    weights, table, quads
// spec:     matmul() in lib/linear_reference.ts

override BIAS: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;
override ADD: bool = false;

@group(0) @binding(4) var<storage, read> x: array<vec4f>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<uniform> step: vec4u;

// Four columns of the token of this lane among first .. first + 3.
fn token(first: u32, lane: u32, at: u32) -> vec4f {
  return x[8u * UNITS * min(first + lane % 4u, step.x - 1u) + at];
}

fn add(first: u32, lane: u32, at: u32, rows: mat4x4f) {
  add_quad(0u, token(first, lane, at), rows);
  add_quad(4u, token(first + 4u, lane, at), rows);
  add_quad(8u, token(first + 8u, lane, at), rows);
  add_quad(12u, token(first + 12u, lane, at), rows);
}

// One unit of the four rows; a group of 16 columns has its own scales in the unit's second half.
fn add_unit(rows: vec4u, unit: u32, first: u32, lane: u32) {
  let a = load_unit(rows.x, unit);
  let b = load_unit(rows.y, unit);
  let c = load_unit(rows.z, unit);
  let d = load_unit(rows.w, unit);
  for (var i = 0u; i < step.w; i++) {
    let group = min((unit * 32u + 8u * i) / GROUP, GROUPS - 1u);
    let s = load_scales(rows.x, group);
    let t = load_scales(rows.y, group);
    let u = load_scales(rows.z, group);
    let v = load_scales(rows.w, group);
    let p = decode8(a[i]);
    let q = decode8(b[i]);
    let r = decode8(c[i]);
    let z = decode8(d[i]);
    let at = 8u * unit + 2u * i;
    add(first, lane, at, mat4x4f(weigh(p.lo, s), weigh(q.lo, t), weigh(r.lo, u), weigh(z.lo, v)));
    add(first, lane, at + 1u, mat4x4f(weigh(p.hi, s), weigh(q.hi, t), weigh(r.hi, u), weigh(z.hi, v)));
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block_id: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  load_table(lane, WORKGROUP);

  // the rows and tokens that are mine; those beyond the last repeat it
  let tiles = (ROWS + 4u * WORKGROUP - 1u) / (4u * WORKGROUP);
  let tile = block_id.y * blocks.x + block_id.x;
  let first_row = 4u * WORKGROUP * (tile % tiles) + lane;
  let first = 16u * (tile / tiles);
  if (first >= step.x) { return; } // uniform over the workgroup
  let mine = vec4u(first_row) + WORKGROUP * vec4u(0u, 1u, 2u, 3u);
  let rows = min(mine, vec4u(ROWS - 1u));

  // loop over the units, four to a flush
  for (var unit = 0u; unit < UNITS; unit++) {
    add_unit(rows, unit, first, lane);
    if (unit % 4u == 3u) { flush(unit / 4u); }
  }
  finish();

  // write
  for (var j = 0u; j < 4u * step.w; j++) {
    for (var i = 0u; i < step.w; i++) {
      if (mine[i] < ROWS && first + j < step.x) {
        let at = FIRST_ROW + mine[i];
        let out = (first + j) * OUT_ROWS + at;
        let sum = sums[j][i] * codebook.factor.x * codebook.factor.y + select(0.0, bias[at], BIAS);
        y[out] = select(0.0, y[out], ADD) + sum;
      }
    }
  }
}
