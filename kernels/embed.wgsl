// embed: rows of a dense embedding table, one a token.
//
//   weights   the table [ROWS, COLS], see parts/dense: binding 0
//   ids       [tokens]               u32
//   x         [tokens, OUT_STRIDE]   f32   rows FIRST_ROW .. FIRST_ROW + ROWS of the table only
//   step      tokens, position, -, -  u32   a uniform
//
// dispatch: a lane for each eight columns of a token, folded over x and y
// parts:    dense
// spec:     embed() in lib/pointwise_reference.ts

override FIRST_ROW: u32 = 0;
override OUT_STRIDE: u32;
override WORKGROUP: u32 = 64;

@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
@group(0) @binding(3) var<uniform> step: vec4u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (block.y * blocks.x + block.x) * WORKGROUP + lane;
  let token = index / EIGHTS;
  let eight = index % EIGHTS;
  if (token >= step.x) { return; }
  let id = ids[token];
  if (id < FIRST_ROW || id >= FIRST_ROW + ROWS) { return; }
  let row = load8(id - FIRST_ROW, eight);
  for (var i = 0u; i < 8u && 8u * eight + i < COLS; i++) {
    x[token * OUT_STRIDE + 8u * eight + i] = select(row.hi[i % 4u], row.lo[i % 4u], i < 4u);
  }
}
