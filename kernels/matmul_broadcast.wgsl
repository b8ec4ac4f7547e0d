// matmul_broadcast: Y = X W^T + b for 3 to 32 tokens on a GPU, W packed and dequantised once.
//
//   codes, codes4, scales, codebook       see parts/weights: bindings 0 to 3
//   x     [tokens, UNITS * 32] as vec4f   f32   a row ends in zeros beyond COLS
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to
//                                               where ADD; [SPLIT, MOST, OUT_ROWS] where SPLIT > 1
//   step  tokens, -, -, -                 u32   a uniform: any batch up to MOST is one kernel
//
// bound:    |y - ref| <= 16 * 2^-24 * sum |x w| against f64: each weight takes its own side's scale
// dispatch: SPLIT workgroups a tile of parts/broadcast, tiles of rows first, folded over x and y
// parts:    weights, table, place, broadcast
// spec:     matmul() in lib/linear_reference.ts

@group(0) @binding(4) var<storage, read> x: array<vec4f>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<uniform> step: vec4u;

struct Fetched {
  words: vec4u,
  scales: Halves,
}

fn fetch(row: u32, unit: u32) -> Fetched {
  return Fetched(load_unit(row, unit), unit_scales(row, unit));
}

fn word_of(unit: Fetched, i: u32) -> Eight {
  return weigh8(unit.words[i], select(unit.scales.first, unit.scales.second, i >= 2u));
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  load_table(lane, LANES);
  let mine = place_of(block.y * blocks.x + block.x);
  if (mine.live == 0u) { return; } // uniform over the workgroup
  walk(mine, lane);
}
