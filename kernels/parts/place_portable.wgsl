// place: which tile of Y = X W^T is a workgroup's, and where its sums go.
//
// Of SPLIT workgroups each takes a run of the columns of the same tile and leaves a sum of its own,
// y [SPLIT, MOST, OUT_ROWS], for kernels/join.wgsl.
// needs:    ROWS, TILE_ROWS and TILE_TOKENS; bound bias, y and step, whose x is the number of tokens
// gives:    place_of() a block, tiles of rows first; put() a sum: rows FIRST_ROW .. FIRST_ROW + ROWS of y, or
//           added to where ADD

override SPLIT: u32 = 1;
override MOST: u32 = 1; // tokens of a part of y
override BIAS: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;
override ADD: bool = false;

// The tile of a workgroup, and which part of its columns.
struct Place {
  first_row: u32,
  first_token: u32,
  live: u32, // tokens from the first one on
  part: u32,
}

fn place_of(block: u32) -> Place {
  let tile = block / SPLIT;
  let tiles = (ROWS + TILE_ROWS - 1u) / TILE_ROWS;
  let first_token = TILE_TOKENS * (tile / tiles);
  let live = step.x - min(first_token, step.x);
  return Place(TILE_ROWS * (tile % tiles), first_token, live, block % SPLIT);
}

// Writes what a row and a token of the tile came to, unless they lie beyond the last.
fn put(place: Place, row: u32, token: u32, sum: f32) {
  if (row >= ROWS || token >= place.live) { return; }
  let at = (place.first_token + token) * OUT_ROWS + FIRST_ROW + row;
  if (SPLIT > 1u) {
    y[place.part * MOST * OUT_ROWS + at] = sum;
    return;
  }
  var add = 0.0;
  if (BIAS) { add = bias[FIRST_ROW + row]; }
  y[at] = select(0.0, y[at], ADD) + sum + add;
}
