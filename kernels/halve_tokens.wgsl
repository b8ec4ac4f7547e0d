// halve_tokens: activations as f16, each token times a power of two that brings its largest near the top.
//
//   x        [BATCH, UNITS * 32] as vec4f   f32   rows of whole units, zeros beyond COLS
//   half_x   [BATCH, UNITS * 4]  as vec4u   f16   eight columns each, the even one of a pair low
//   factors  [BATCH]                        f32   what a sum over half_x is to be multiplied by
//
// Afterwards 2^(TARGET - 1) <= max |half_x| <= 2^TARGET, unless all are zeros or no f32 factor does that,
// so that products with small levels are no subnormal f16 and sums over a unit stay below 65504.
//
// dispatch: one workgroup for each token, folded over x and y
// parts:    none
// spec:     halveTokens() in lib/pointwise_reference.ts

override COLS: u32;
override BATCH: u32;
override TARGET: u32;
override WORKGROUP: u32 = 64;

override EIGHTS: u32 = (COLS + 31u) / 32u * 4u;

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> half_x: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> factors: array<f32>;

var<workgroup> largest: array<f32, WORKGROUP>;

// The largest of all lanes' values, to every lane.
fn largest_of(lane: u32, value: f32) -> f32 {
  largest[lane] = value;
  for (var apart = WORKGROUP / 2u; apart > 0u; apart /= 2u) {
    workgroupBarrier();
    if (lane < apart) { largest[lane] = max(largest[lane], largest[lane + apart]); }
  }
  workgroupBarrier();
  return largest[0];
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) ids: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let token = id.y * ids.x + id.x;
  if (token >= BATCH) { return; } // uniform over the workgroup
  var size = vec4f(0.0);
  for (var i = lane; i < EIGHTS; i += WORKGROUP) {
    let at = 2u * (token * EIGHTS + i);
    size = max(size, max(abs(x[at]), abs(x[at + 1u])));
  }
  let exponent = bitcast<u32>(largest_of(lane, max(max(size.x, size.y), max(size.z, size.w)))) >> 23u;
  let up = clamp(253u + TARGET - exponent, 1u, 253u); // 127 + TARGET - 1 - (exponent - 127)
  let scale = bitcast<f32>(up << 23u);
  for (var i = lane; i < EIGHTS; i += WORKGROUP) {
    let at = 2u * (token * EIGHTS + i);
    let lo = x[at] * scale;
    let hi = x[at + 1u] * scale;
    half_x[token * EIGHTS + i] =
      vec4u(pack2x16float(lo.xy), pack2x16float(lo.zw), pack2x16float(hi.xy), pack2x16float(hi.zw));
  }
  if (lane == 0u) { factors[token] = bitcast<f32>((254u - up) << 23u); }
}
