// self_test_bytes: packed products of four bytes, to see that a device computes them.
//
//   v, t  [4]  vec4i   i32   whole numbers of a byte
//   y     [4]          f32   1000 + v . t, as bytes
//
// dispatch: one workgroup
// parts:    none
// spec:     expectedBytes() in lib/arithmetic.ts

@group(0) @binding(0) var<storage, read> v: array<vec4i>;
@group(0) @binding(1) var<storage, read> t: array<vec4i>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(4)
fn main(@builtin(local_invocation_index) lane: u32) {
  y[lane] = f32(dot4I8Packed(pack4xI8(v[lane]), pack4xI8(t[lane])) + 1000);
}
