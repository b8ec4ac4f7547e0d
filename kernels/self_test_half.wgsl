// self_test_half: sums of two products in f16, to see that a device computes them, subnormals kept.
//
//   v, t  [4]  u32   two f16 each
//   y     [4]  f32   v.x t.x + v.y t.y, each product and the sum in f16
//
// dispatch: one workgroup
// parts:    none
// spec:     expectedHalves() in lib/arithmetic.ts

enable f16;

@group(0) @binding(0) var<storage, read> v: array<u32>;
@group(0) @binding(1) var<storage, read> t: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(4)
fn main(@builtin(local_invocation_index) lane: u32) {
  let products = fma(bitcast<vec2h>(v[lane]), bitcast<vec2h>(t[lane]), vec2h(0.0h));
  y[lane] = f32(products.x + products.y);
}
