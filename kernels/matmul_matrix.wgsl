// matmul_matrix: Y = X W^T + b for many tokens, W packed, by matrix units: `--matrix-units`.
//
//   codes, codes4, scales, codebook       see parts/weights: bindings 0 to 3
//   half_x, factors                       see parts/fragments
//   bias  [FIRST_ROW + ROWS ..]           f32   read only where BIAS
//   y     [tokens, OUT_ROWS]              f32   rows FIRST_ROW .. FIRST_ROW + ROWS are written, or added to
//                                               where ADD; [SPLIT, MOST, OUT_ROWS] where SPLIT > 1
//   step  tokens, -, -, -                 u32   a uniform: any batch up to MOST is one kernel
//
// A weight is level x scale in f16, its own side's scale times UP, a power of two that brings the largest
// scale and weight of W near the top of f16. Products are exact in f32 and summed there.
// With m the largest |x| of the token and S the largest scale of W, against f64,
//   |y - ref| <= 2^-9 sum |x w| + 2^-24 (m sum |w| + S sum |x|)
//
// dispatch: SPLIT workgroups a tile of parts/fragments, tiles of rows first, folded over x and y
// parts:    weights, half_table, fragment, place, fragments
// spec:     matmul() in lib/linear_reference.ts

enable f16;

override UP: f32 = 1.0;

@group(0) @binding(4) var<storage, read> half_x: array<vec4u>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read> factors: array<f32>;
@group(0) @binding(8) var<uniform> step: vec4u;

struct Fetched {
  words: vec4u,
  scales: Halves,
}

// A unit's codes and scales; those beyond the last repeat it.
fn fetch(row: u32, unit: u32) -> Fetched {
  let here = min(unit, UNITS - 1u);
  return Fetched(load_unit(row, here), unit_scales(row, here));
}

// Level x scale of two codes, which of two scales by the level's sign.
fn weigh_two(levels: u32, scale: vec2f) -> u32 {
  let v = bitcast<vec2h>(levels);
  if (SCALING != 1u) { return bitcast<u32>(v * f16(scale.x)); }
  let none = vec2h(0.0h);
  return bitcast<u32>(max(v, none) * f16(scale.x) + min(v, none) * f16(scale.y));
}

fn half8(fetched: Fetched, i: u32) -> vec4u {
  let own = select(fetched.scales.first, fetched.scales.second, i >= 2u);
  let levels = levels8(fetched.words[i], own.y).signed;
  let scale = vec2f(own.x * UP, own.y * select(UP, 1.0, SCALING == 2u));
  return vec4u(weigh_two(levels.x, scale), weigh_two(levels.y, scale), weigh_two(levels.z, scale), weigh_two(levels.w, scale));
}

fn factor_of(row: u32, token: u32) -> f32 {
  let factor = codebook.factor.x / UP * codebook.factor.y * factors[token];
  if (SCALE_BITS < 16u) { return factor * row_factor(row); }
  return factor;
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) ids: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  load_table(lane, LANES);
  make_tile(id.y * ids.x + id.x, lane, subgroup);
}
