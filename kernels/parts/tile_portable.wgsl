// tile: a register tile of Y = X W^T, the same for packed and dense weights.
//
// A workgroup of 8 x 8 lanes makes 32 rows x 32 tokens; it walks the columns 32 at a time, W and X of
// that step in workgroup memory as vec4f along the columns. A lane owns rows across + 8 i and tokens
// down + 8 j, i, j < 4. Sums go up in steps (4, 8, 16 steps, all), which bounds rounding.
// needs:    tile_w and tile_x filled, and a barrier, before multiply(); 64 lanes
// gives:    sums[j][i] after finish()

// Row or token r has its eight vec4f at 9 r: the ninth keeps lanes off each other's banks.
var<workgroup> tile_w: array<vec4f, 288>;
var<workgroup> tile_x: array<vec4f, 288>;

var<private> sums: array<vec4f, 4>;     // by token j, a row a component
var<private> pending: array<vec4f, 4>;  // of the last 16 steps

// Adds the product of the two tiles, of which the first `live` tokens count.
fn multiply(across: u32, down: u32, step: u32, live: u32) {
  var product = array<vec4f, 4>();
  for (var k = 0u; k < 8u; k++) {
    let w0 = tile_w[9u * across + k];
    let w1 = tile_w[9u * (across + 8u) + k];
    let w2 = tile_w[9u * (across + 16u) + k];
    let w3 = tile_w[9u * (across + 24u) + k];
    for (var j = 0u; j < 4u; j++) {
      if (8u * j < live) {
        let t = tile_x[9u * (down + 8u * j) + k];
        product[j] += vec4f(dot(t, w0), dot(t, w1), dot(t, w2), dot(t, w3));
      }
    }
  }
  for (var j = 0u; j < 4u; j++) {
    pending[j] += product[j];
    if (step % 16u == 15u) {
      sums[j] += pending[j];
      pending[j] = vec4f(0.0);
    }
  }
}

// Adds what is still pending.
fn finish() {
  for (var j = 0u; j < 4u; j++) { sums[j] += pending[j]; }
}
