// dense_matvec: y = W x + b for one token or two, W in f32, f16 or bf16.
//
//   weights                               see parts/dense: binding 0
//   x     [BATCH, UNITS * 32] as vec4f    f32   UNITS = COLS / 32 rounded up; zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [BATCH, OUT_ROWS]               f32   see parts/lines
//
// A lane takes eight columns of x into registers and multiplies them with those of TALL rows.
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64: sums go up in steps (8, 16 eights, all
//           eights of a lane, 8 lanes, all)
// dispatch: SPLIT workgroups for LINES * TALL rows, folded over x and y
// parts:    dense, fold, lines
// spec:     denseMatvec() in lib/linear_reference.ts

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// sum w x over eight columns.
fn eight_sum(w: Eight, lo: vec4f, hi: vec4f) -> f32 {
  let sum = fma(w.lo.w, lo.w, fma(w.lo.z, lo.z, fma(w.lo.y, lo.y, w.lo.x * lo.x)));
  return fma(w.hi.w, hi.w, fma(w.hi.z, hi.z, fma(w.hi.y, hi.y, fma(w.hi.x, hi.x, sum))));
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) ids: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // the rows and columns that are mine
  let block = (id.y * ids.x + id.x) / SPLIT;
  let part = (id.y * ids.x + id.x) % SPLIT;
  var rows: array<u32, 16>;
  for (var r = 0u; r < TALL; r++) { rows[r] = row_of(block * LINES + lane / SPAN, r); }

  // loop over the columns, eight a lane and step; sixteen steps are summed before they join the total
  let stride = 8u * ((COLS + 31u) / 32u);
  var total = array<f32, 16>();
  for (var eight = part * SPAN + lane % SPAN; eight < EIGHTS; ) {
    var recent = array<f32, 16>();
    for (var i = 0u; i < 16u && eight < EIGHTS; i++) {
      for (var token = 0u; token < BATCH; token++) {
        let lo = x[token * stride + 2u * eight];
        let hi = x[token * stride + 2u * eight + 1u];
        for (var r = 0u; r < TALL; r++) {
          recent[token * TALL + r] += eight_sum(load8(rows[r], eight), lo, hi);
        }
      }
      eight += SPAN * SPLIT;
    }
    for (var i = 0u; i < TALL * BATCH; i++) { total[i] += recent[i]; }
  }

  // add up the lanes of a line and write
  for (var token = 0u; token < BATCH; token++) {
    for (var r = 0u; r < TALL; r++) { leave(lane, r, token, total[token * TALL + r]); }
  }
  settle(lane);
  write(block, part, lane, vec2f(1.0));
}
