// quads: sums of Y = X W^T for 8 rows a lane and up to 16 tokens, tokens handed round in quads of lanes.
//
// On a CPU that plays a GPU every load is a loop over lanes, and arithmetic is nearly free. So a lane
// keeps eight columns of its own eight rows, loads eight columns of one token of each four, and gets
// those of the other three from its quad by swaps, which are one instruction where a broadcast is ten:
// swap j brings token j ^ (place in the quad), so that is the token that sum j of a lane belongs to.
// Such compilers run both sides of an `if`, so what is rare stands behind a loop's condition instead.
// Sums go up in steps (8, 128, 2048 columns, all), which bounds rounding.
// needs:    a part `swaps`; WORKGROUP a multiple of 4
// gives:    block, after flush(): the sums of at most 2048 columns

override WORKGROUP: u32 = 8;
override TOKENS: u32 = 16;  // that a workgroup serves: 4, 8 or 16

// Four rows of W at eight columns: a column of a matrix is a column of W.
struct FourRows {
  lo: mat4x4f,
  hi: mat4x4f,
}

// By quad of tokens and half of the rows, [4][2]: a token a column, a row a component.
var<private> block: array<mat4x4f, 8>;
var<private> pending: array<mat4x4f, 8>;  // since the last flush

// Adds eight columns of a quad of tokens, of which this lane holds one, times those of its rows.
fn add_quad(quad: u32, mine_lo: vec4f, mine_hi: vec4f, a: FourRows, b: FourRows) {
  let lo = spread(mine_lo);
  let hi = spread(mine_hi);
  pending[2u * quad] += a.lo * lo + a.hi * hi;
  pending[2u * quad + 1u] += b.lo * lo + b.hi * hi;
}

fn flush_quad(quad: u32) {
  block[2u * quad] += pending[2u * quad];
  block[2u * quad + 1u] += pending[2u * quad + 1u];
  pending[2u * quad] = mat4x4f();
  pending[2u * quad + 1u] = mat4x4f();
}

// Brings what is pending, of at most 128 columns, one step up.
fn flush() {
  flush_quad(0u);
  if (TOKENS > 4u) { flush_quad(1u); }
  if (TOKENS > 8u) {
    flush_quad(2u);
    flush_quad(3u);
  }
}
