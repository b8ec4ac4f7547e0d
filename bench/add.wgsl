// add: y += x, what a residual sum costs as a kernel of its own.
//
//   x   [COUNT]   f32
//   y   [COUNT]   f32
//
// dispatch: a lane for each number
// parts:    none

override COUNT: u32;
override WORKGROUP: u32 = 64;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < COUNT) { y[id.x] += x[id.x]; }
}
