// join: y = the sum of the parts that a product left of it, + b.
//
//   parts [SPLIT, BATCH * OUT_ROWS]   f32
//   bias  [OUT_ROWS]                  f32   read only where BIAS
//   y     [BATCH, OUT_ROWS]           f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to
//                                           where ADD
//
// Parts are added in their order, so a product that is split gives the same bits every time.
//
// bound:    that of the product; SPLIT <= 8
// dispatch: one lane a row and token, folded over x and y
// parts:    none
// spec:     matvec() in lib/linear_reference.ts

override ROWS: u32;
override SPLIT: u32;
override BATCH: u32 = 1;
override BIAS: bool = false;
override ADD: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;
override WORKGROUP: u32 = 64;

@group(0) @binding(0) var<storage, read> parts: array<f32>;
@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// The bias of a row of y, which is not read where there is none.
fn bias_of(row: u32) -> f32 {
  if (BIAS) { return bias[row]; }
  return 0.0;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) ids: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // the output that is mine
  let i = (id.y * ids.x + id.x) * WORKGROUP + lane;
  if (i >= ROWS * BATCH) { return; }
  let row = FIRST_ROW + i % ROWS;
  let at = i / ROWS * OUT_ROWS + row;

  // add up its parts
  var sum = 0.0;
  for (var part = 0u; part < SPLIT; part++) { sum += parts[part * BATCH * OUT_ROWS + at]; }
  y[at] = select(0.0, y[at], ADD) + sum + bias_of(row);
}
