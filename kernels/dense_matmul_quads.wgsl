// dense_matmul_quads: Y = X W^T + b for several tokens, W in f32, f16 or bf16: for devices that are a CPU.
//
//   weights                               see parts/dense: binding 0
//   x     [tokens, UNITS * 32] as vec4f   f32   UNITS = COLS / 32 rounded up; zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to where ADD
//   step  tokens, -, -, 4                 u32   a uniform; the fourth is a number that compilers do not know
//                                               and so do not unroll by
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64
// dispatch: one workgroup for 8 WORKGROUP rows x TOKENS tokens, rows first, folded over x and y
// parts:    dense, quads
// spec:     denseMatmul() in lib/linear_reference.ts

override BIAS: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;
override ADD: bool = false;

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> step: vec4u;

// Eight columns of four rows.
fn four_rows(rows: vec4u, eight: u32) -> FourRows {
  let a = load8(rows.x, eight);
  let b = load8(rows.y, eight);
  let c = load8(rows.z, eight);
  let d = load8(rows.w, eight);
  return FourRows(
    transpose(mat4x4f(a.lo, b.lo, c.lo, d.lo)),
    transpose(mat4x4f(a.hi, b.hi, c.hi, d.hi)),
  );
}

// Adds eight columns of a quad of tokens, this lane's among them; those beyond the last repeat it.
fn add_token(quad: u32, mine: u32, at: u32, a: FourRows, b: FourRows) {
  let start = 8u * ((COLS + 31u) / 32u) * min(mine + 4u * quad, step.x - 1u) + at;
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

// Adds a sum to what earlier columns came to, if there are any.
fn put(row: u32, token: u32, sum: f32, more: bool) {
  if (row < ROWS && token < step.x) {
    let at = FIRST_ROW + row;
    let out = token * OUT_ROWS + at;
    var start = 0.0;
    if (BIAS) { start = select(bias[at], 0.0, more); }
    y[out] = select(0.0, y[out], ADD || (EIGHTS > 256u && more)) + (sum + start);
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
  // the rows and tokens that are mine; those beyond the last repeat it
  let tiles = (ROWS + 8u * WORKGROUP - 1u) / (8u * WORKGROUP);
  let tile = block_id.y * blocks.x + block_id.x;
  let first_row = 8u * WORKGROUP * (tile % tiles) + lane;
  let first = TOKENS * (tile / tiles);
  if (first >= step.x) { return; } // uniform over the workgroup
  let low = vec4u(first_row) + WORKGROUP * vec4u(0u, 1u, 2u, 3u);
  let high = low + 4u * WORKGROUP;
  let last = vec4u(ROWS - 1u);

  // loop over the columns by eights: sixteen to a flush, 256 to a block
  let mine = first + own % 4u;
  for (var far = 0u; far < EIGHTS; far += 256u) {
    for (var near = far; near < min(far + 256u, EIGHTS); near += 16u) {
      for (var eight = near; eight < min(near + 16u, EIGHTS); eight++) {
        add(mine, 2u * eight, four_rows(min(low, last), eight), four_rows(min(high, last), eight));
      }
      flush();
    }
    write(first_row, first, own % 4u, far > 0u);
  }
}
