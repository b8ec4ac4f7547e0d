// dense_matvec: y = W x + b for one token or two, W in f32, f16 or bf16.
//
//   weights                               see parts/dense: binding 0
//   x     [BATCH, UNITS * 32] as vec4f    f32   UNITS = COLS / 32 rounded up; zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [BATCH, OUT_ROWS]               f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to
//                                               where ADD; where GATED the first half of W's rows are gates
//                                               and the second half ups: y [BATCH, ROWS / 2] = silu(gate) * up
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64
// dispatch: one workgroup for 4 rows, folded over x and y; its lanes stride over eights of columns
// parts:    dense, reduce
// spec:     denseMatvec() in lib/linear_reference.ts

override BATCH: u32 = 1;
override BIAS: bool = false;
override ADD: bool = false;
override GATED: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn eight_sum(w: Eight, at: u32) -> f32 {
  return dot(w.lo, x[at]) + dot(w.hi, x[at + 1u]);
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
  // the four rows that are mine; those beyond the last repeat it and are not written
  let first = 4u * (block.y * blocks.x + block.x);
  if (first >= ROWS) { return; } // uniform over the workgroup
  let rows = vec4u(row_of(first, 0u), row_of(first, 1u), row_of(first, 2u), row_of(first, 3u));

  // loop over the columns; sixteen eights are summed before they join the total
  let stride = 8u * ((COLS + 31u) / 32u);
  var total = array<vec4f, 2>();
  var sixteen = array<vec4f, 2>();
  var count = 0u;
  for (var eight = lane; eight < EIGHTS; eight += WORKGROUP) {
    let a = load8(rows.x, eight);
    let b = load8(rows.y, eight);
    let c = load8(rows.z, eight);
    let d = load8(rows.w, eight);
    count++;
    for (var token = 0u; token < BATCH; token++) {
      let at = token * stride + 2u * eight;
      sixteen[token] +=
        vec4f(eight_sum(a, at), eight_sum(b, at), eight_sum(c, at), eight_sum(d, at));
      if (count % 16u == 0u) {
        total[token] += sixteen[token];
        sixteen[token] = vec4f(0.0);
      }
    }
  }

  // reduce over the lanes and write
  for (var token = 0u; token < BATCH; token++) {
    let sums = reduce(lane, total[token] + sixteen[token]);
    write(token, first, lane, sums);
  }
}
