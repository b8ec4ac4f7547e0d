// quads: sums of Y = X W^T for 8 rows a lane and up to 16 tokens, tokens handed round between lanes.
//
// On a CPU that plays a GPU every load is a loop over lanes, and arithmetic is nearly free. So a lane
// keeps eight columns of its own eight rows, loads eight columns of one token of each four, and gets
// those of the other three from its quad by swaps, which are one instruction where a broadcast is ten:
// swap j brings token j ^ (place in the quad), so that is the token that sum j of a lane belongs to.
// OCTETS, two quads do so together: one token of each eight, the opposite quad's for sums 4 to 7.
// Such compilers run both sides of an `if`, so what is rare stands behind a loop's condition instead.
// Sums go up in steps (8, 128, 2048 columns, all), which bounds rounding.
// needs:    a part `swaps`; WORKGROUP a multiple of 4; OCTETS, of 8 and subgroups of 8; bound x, bias, y
//           and step, and of the kernel
//             ROW_FOURS            vec4f in a row of x
//             finished(row, sum)   a sum with what is still to be multiplied
// gives:    first_token() of a tile, place_of() what is mine in it; add() eight columns, flush() after 128 of them, write() after 2048:
//           rows FIRST_ROW .. FIRST_ROW + rows of y, or added to where ADD

override WORKGROUP: u32 = 8;
override TOKENS: u32 = 16;  // that a workgroup serves: 4, 8 or 16
override OCTETS: bool = false;
override BIAS: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;
override ADD: bool = false;

override SHARING: u32 = select(4u, 8u, OCTETS && TOKENS > 4u); // lanes that hand tokens round

// Four rows of W at eight columns: a column of a matrix is a column of W.
struct FourRows {
  lo: mat4x4f,
  hi: mat4x4f,
}

// By quad of tokens and half of the rows, [4][2]: a token a column, a row a component.
var<private> block: array<mat4x4f, 8>;
var<private> pending: array<mat4x4f, 8>;  // since the last flush

// What a lane works at. Rows and tokens beyond the last repeat it.
struct Place {
  row: u32,    // the first of its eight, WORKGROUP apart
  low: vec4u,  // they, clamped
  high: vec4u,
  token: u32,  // the first of its workgroup
  own: u32,    // its place among the lanes that share tokens
}

fn tiles_of(rows: u32) -> u32 {
  return (rows + 8u * WORKGROUP - 1u) / (8u * WORKGROUP);
}

// The first token of a tile, uniform over a workgroup as far as compilers know.
fn first_token(tile: u32, rows: u32) -> u32 {
  return TOKENS * (tile / tiles_of(rows));
}

fn place_of(tile: u32, rows: u32, lane: u32, own: u32) -> Place {
  let row = 8u * WORKGROUP * (tile % tiles_of(rows)) + lane;
  let low = vec4u(row) + WORKGROUP * vec4u(0u, 1u, 2u, 3u);
  let last = vec4u(rows - 1u);
  return Place(
    row,
    min(low, last),
    min(low + 4u * WORKGROUP, last),
    first_token(tile, rows),
    own % SHARING,
  );
}

// Four rows at one token, of eight columns.
fn times(w: FourRows, lo: vec4f, hi: vec4f) -> vec4f {
  return w.lo * lo + w.hi * hi;
}

// Adds eight columns of a quad of tokens, of which this lane holds one, times those of its rows: all rows
// of a token before the next, so that registers hold the token and weights are read as they are used.
// Written out: as a loop over tokens it takes SwiftShader two to three times as long.
fn add_quad(quad: u32, mine_lo: vec4f, mine_hi: vec4f, a: FourRows, b: FourRows) {
  let lo = spread(mine_lo);
  let hi = spread(mine_hi);
  let i = 2u * quad;
  pending[i][0] += times(a, lo[0], hi[0]);
  pending[i + 1u][0] += times(b, lo[0], hi[0]);
  pending[i][1] += times(a, lo[1], hi[1]);
  pending[i + 1u][1] += times(b, lo[1], hi[1]);
  pending[i][2] += times(a, lo[2], hi[2]);
  pending[i + 1u][2] += times(b, lo[2], hi[2]);
  pending[i][3] += times(a, lo[3], hi[3]);
  pending[i + 1u][3] += times(b, lo[3], hi[3]);
}

// The same from `first` quad on, loaded at vec4f `at` of a token: of one quad or, OCTETS, two.
fn add_token(first: u32, place: Place, at: u32, a: FourRows, b: FourRows) {
  let start = ROW_FOURS * min(place.token + 4u * first + place.own, step.x - 1u) + at;
  let lo = x[start];
  let hi = x[start + 1u];
  add_quad(first, lo, hi, a, b);
  if (SHARING == 8u) { add_quad(first + 1u, opposite(lo), opposite(hi), a, b); }
}

// Adds columns 4 at .. 4 at + 8 of all tokens times those of the lane's rows.
fn add(place: Place, at: u32, a: FourRows, b: FourRows) {
  add_token(0u, place, at, a, b);
  if (TOKENS > 4u && SHARING == 4u) { add_token(1u, place, at, a, b); }
  if (TOKENS > 8u) {
    add_token(2u, place, at, a, b);
    if (SHARING == 4u) { add_token(3u, place, at, a, b); }
  }
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

// Adds a sum to what earlier columns came to, if there are any.
fn put(row: u32, rows: u32, token: u32, sum: f32, more: bool) {
  if (row < rows && token < step.x) {
    let at = FIRST_ROW + row;
    var start = 0.0;
    if (BIAS) { start = select(bias[at], 0.0, more); }
    let out = token * OUT_ROWS + at;
    y[out] = select(0.0, y[out], ADD || (ROW_FOURS > 512u && more)) + (finished(row, sum) + start);
  }
}

fn put_four(row: u32, rows: u32, token: u32, sums: vec4f, more: bool) {
  put(row, rows, token, sums.x, more);
  put(row + WORKGROUP, rows, token, sums.y, more);
  put(row + 2u * WORKGROUP, rows, token, sums.z, more);
  put(row + 3u * WORKGROUP, rows, token, sums.w, more);
}

// Writes the block and clears it; `more` where earlier columns were written.
fn write(place: Place, rows: u32, more: bool) {
  for (var i = 0u; i < TOKENS * step.w / 8u; i++) {
    let sums = block[i];
    let row = place.row + 4u * WORKGROUP * (i % 2u);
    let eight = place.token + 8u * (i / 4u);
    let swap = 4u * (i / 2u % 2u);
    put_four(row, rows, eight + (place.own ^ swap), sums[0], more);
    put_four(row, rows, eight + (place.own ^ (swap + 1u)), sums[1], more);
    put_four(row, rows, eight + (place.own ^ (swap + 2u)), sums[2], more);
    put_four(row, rows, eight + (place.own ^ (swap + 3u)), sums[3], more);
    block[i] = mat4x4f();
  }
}
