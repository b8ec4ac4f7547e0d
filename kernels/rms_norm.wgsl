// rms_norm: y = x / sqrt(mean x^2 + EPSILON) * gain, a token at a time.
//
//   x      [tokens, STRIDE]   f32   COLS of each row count
//   gain   [COLS]             f32
//   y      [tokens, STRIDE]   f32   or one row, that of the last token, where LAST
//   step   tokens, position, -, -   u32   a uniform
//
// dispatch: one workgroup a token
// parts:    reduce
// spec:     rmsNorm() in lib/pointwise_reference.ts

override COLS: u32;
override STRIDE: u32;
override EPSILON: f32;
override LAST: bool = false;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gain: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> step: vec4u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let out = block.y * blocks.x + block.x;
  let token = select(out, step.x - 1u, LAST);
  if (token >= step.x) { return; } // uniform over the workgroup

  var squares = 0.0;
  for (var i = lane; i < COLS; i += WORKGROUP) {
    let value = x[token * STRIDE + i];
    squares += value * value;
  }
  let sum = reduce(lane, vec4f(squares)).x;
  let scale = inverseSqrt(sum / f32(COLS) + EPSILON);

  for (var i = lane; i < COLS; i += WORKGROUP) {
    y[out * STRIDE + i] = x[token * STRIDE + i] * scale * gain[i];
  }
}
