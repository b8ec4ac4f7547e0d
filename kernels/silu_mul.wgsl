// silu_mul: y = silu(gate) * up, gate and up side by side.
//
//   x      [tokens, STRIDE]       f32   a row: COLS gates, COLS ups
//   y      [tokens, OUT_STRIDE]   f32   silu(g) = g / (1 + exp(-g))
//   step   tokens, position, -, -  u32   a uniform
//
// dispatch: a lane for each output, folded over x and y
// parts:    none
// spec:     siluMul() in lib/pointwise_reference.ts

override COLS: u32;
override STRIDE: u32;
override OUT_STRIDE: u32;
override WORKGROUP: u32 = 64;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: vec4u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (block.y * blocks.x + block.x) * WORKGROUP + lane;
  let token = index / COLS;
  let column = index % COLS;
  if (token >= step.x) { return; }
  let gate = x[token * STRIDE + column];
  let shrink = 1.0 + exp(min(-gate, 88.0)); // WGSL has no infinity to rely on
  y[token * OUT_STRIDE + column] = gate / shrink * x[token * STRIDE + COLS + column];
}
