// embed_packed: rows of a packed embedding table, one a token, dequantised.
//
//   codes, codes4, scales, codebook   the table [ROWS, COLS], see parts/weights: bindings 0 to 3
//   ids       [tokens]               u32
//   x         [tokens, OUT_STRIDE]   f32   rows FIRST_ROW .. FIRST_ROW + ROWS of the table only
//   step      tokens, position, -, -  u32   a uniform
//
// dispatch: a lane for each half unit of 16 columns of a token, folded over x and y
// parts:    weights, table
// spec:     embed() in lib/pointwise_reference.ts

override FIRST_ROW: u32 = 0;
override OUT_STRIDE: u32;
override WORKGROUP: u32 = 64;

@group(0) @binding(4) var<storage, read> ids: array<u32>;
@group(0) @binding(5) var<storage, read_write> x: array<f32>;
@group(0) @binding(6) var<uniform> step: vec4u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  load_table(lane, WORKGROUP);

  let index = (block.y * blocks.x + block.x) * WORKGROUP + lane;
  let token = index / (2u * UNITS);
  let column = 16u * (index % (2u * UNITS));
  if (token >= step.x || column >= COLS) { return; }
  let id = ids[token];
  if (id < FIRST_ROW || id >= FIRST_ROW + ROWS) { return; }

  let words = load_unit(id - FIRST_ROW, column / 32u);
  let scale = whole_scales(id - FIRST_ROW, column / GROUP);
  for (var i = 0u; i < 2u; i++) {
    let weights = weigh8(words[column / 16u % 2u * 2u + i], scale);
    let lo = weights.lo * codebook.factor.x * codebook.factor.y;
    let hi = weights.hi * codebook.factor.x * codebook.factor.y;
    for (var j = 0u; j < 8u; j++) {
      let at = column + 8u * i + j;
      if (at < COLS) { x[token * OUT_STRIDE + at] = select(hi[j % 4u], lo[j % 4u], j < 4u); }
    }
  }
}
