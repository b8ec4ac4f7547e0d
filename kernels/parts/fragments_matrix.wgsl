// fragments: a tile of Y = X W^T by the matrix units of a GPU, the same for packed and dense weights.
//
// A workgroup makes TILE_ROWS rows x TOKENS tokens; it walks the columns 64 at a time, W and X of that step as
// f16 in workgroup memory. What the next AHEAD steps need of W and X is on its way to registers while the
// units multiply. A subgroup owns TALL x WIDE fragments of M x N, summed in f32: at most 2 x 4, by name,
// since drivers keep arrays of them in memory.
//
//   half_x   [tokens, UNITS * 4] as vec4u  f16   as halve_tokens.wgsl left them
//   factors  [tokens]                      f32   what makes up for the powers of two in half_x
//
// needs:    LANES in SUBGROUPS subgroups of one width; parts/fragment, which says M, N and K, and parts/place;
//           of the kernel COLS, bound half_x and factors, and
//             fetch(row, unit)         what there is of 32 columns of a row in memory
//             half8(fetched, i)        columns 8 i .. 8 i + 8 of it as f16
//             factor_of(row, token)    what a sum is to be multiplied by
// gives:    make_tile()

override LANES: u32 = 256;    // 128 or 256
override SUBGROUPS: u32 = 8;
override TOKENS: u32 = 64;    // 16, 32, 64 or 128
override AHEAD: u32 = 1;      // steps whose W and X are on their way: 1 or 2

override TILE_ROWS: u32 = LANES / 2u;
override TILE_TOKENS: u32 = TOKENS;
override ROWS_EACH: u32 = select(M, 2u * M, TOKENS >= 4u * N);         // at least
override ACROSS: u32 = min(SUBGROUPS, TILE_ROWS / ROWS_EACH);          // subgroups along rows
override DOWN: u32 = SUBGROUPS / ACROSS;                               // and along tokens
override TALL: u32 = TILE_ROWS / (M * ACROSS);
override WIDE: u32 = TOKENS / (N * DOWN);
override STEPS: u32 = (COLS + 63u) / 64u;
override PIECES: u32 = 4u * ((COLS + 31u) / 32u);                       // vec4u of a token

// From a fragment of a tile to the next, and from K columns to the next.
const DOWN_W: u32 = 9u * M;
const DOWN_X: u32 = 9u * N;
const ALONG: u32 = K / 8u;

// Row or token r has its 64 columns in the eight vec4u from 9 r on: the ninth keeps lanes off each
// other's banks.
override W_FOURS: u32 = 9u * TILE_ROWS;
override X_FOURS: u32 = 9u * TOKENS;
var<workgroup> tile_w: array<vec4u, W_FOURS>;
var<workgroup> tile_x: array<vec4u, X_FOURS>;
// A fragment of sums of each subgroup, by token.
override CORNERS: u32 = M * N * SUBGROUPS;
var<workgroup> corners: array<f32, CORNERS>;

// The lane's share of X in a step: i-th of the pieces of eight columns.
fn fetch_x(place: Place, at_step: u32, lane: u32) -> array<vec4u, 8> {
  var pieces = array<vec4u, 8>();
  for (var i = 0u; i < 8u && LANES * i < 8u * TOKENS; i++) {
    let at = lane + LANES * i;
    let token = place.first_token + min(at / 8u, place.live - 1u);
    let piece = 8u * at_step + at % 8u;
    pieces[i] = select(vec4u(0u), half_x[token * PIECES + min(piece, PIECES - 1u)], piece < PIECES);
  }
  return pieces;
}

// The sums of a subgroup, by its rows a or b, and its tokens. By name, since drivers keep arrays in memory.
struct Sums {
  a0: Sum,
  a1: Sum,
  a2: Sum,
  a3: Sum,
  b0: Sum,
  b1: Sum,
  b2: Sum,
  b3: Sum,
}

// Leaves what was fetched in workgroup memory.
fn place(w: Fetched, x: array<vec4u, 8>, lane: u32) {
  for (var i = 0u; i < 4u; i++) {
    tile_w[9u * (lane / 2u) + 4u * (lane % 2u) + i] = half8(w, i);
  }
  for (var i = 0u; i < 8u && LANES * i < 8u * TOKENS; i++) {
    let at = lane + LANES * i;
    if (at < 8u * TOKENS) { tile_x[at + at / 8u] = x[i]; }
  }
}

// Adds the product of the two tiles.
fn multiply(sums: ptr<function, Sums>, left_at: u32, right_at: u32) {
  for (var k = 0u; k < 8u; k += ALONG) {
    let a = subgroupMatrixLoad<Left, row_major>(&tile_w, left_at + k, 9u);
    var b: Left;
    if (TALL > 1u) { b = subgroupMatrixLoad<Left, row_major>(&tile_w, left_at + DOWN_W + k, 9u); }
    let x0 = subgroupMatrixLoad<Right, col_major>(&tile_x, right_at + k, 9u);
    sums.a0 = subgroupMatrixMultiplyAccumulate(a, x0, sums.a0);
    if (TALL > 1u) { sums.b0 = subgroupMatrixMultiplyAccumulate(b, x0, sums.b0); }
    if (WIDE > 1u) {
      let x1 = subgroupMatrixLoad<Right, col_major>(&tile_x, right_at + DOWN_X + k, 9u);
      sums.a1 = subgroupMatrixMultiplyAccumulate(a, x1, sums.a1);
      if (TALL > 1u) { sums.b1 = subgroupMatrixMultiplyAccumulate(b, x1, sums.b1); }
    }
    if (WIDE > 2u) {
      let x2 = subgroupMatrixLoad<Right, col_major>(&tile_x, right_at + 2u * DOWN_X + k, 9u);
      let x3 = subgroupMatrixLoad<Right, col_major>(&tile_x, right_at + 3u * DOWN_X + k, 9u);
      sums.a2 = subgroupMatrixMultiplyAccumulate(a, x2, sums.a2);
      sums.a3 = subgroupMatrixMultiplyAccumulate(a, x3, sums.a3);
      if (TALL > 1u) {
        sums.b2 = subgroupMatrixMultiplyAccumulate(b, x2, sums.b2);
        sums.b3 = subgroupMatrixMultiplyAccumulate(b, x3, sums.b3);
      }
    }
  }
}

// Makes what is the workgroup's, the `block`-th of all; by all lanes together.
fn make_tile(block: u32, lane: u32, subgroup: u32) {
  let mine = place_of(block);
  if (mine.live == 0u) { return; } // uniform over the workgroup
  let begin = mine.part * STEPS / SPLIT;
  let end = (mine.part + 1u) * STEPS / SPLIT;

  // loop over the columns: half a row of W a lane
  let row = min(mine.first_row + lane / 2u, ROWS - 1u);
  let half = lane % 2u;
  let left_at = DOWN_W * TALL * (subgroup % ACROSS);
  let right_at = DOWN_X * WIDE * (subgroup / ACROSS);
  var sums: Sums;
  var w = fetch(row, 2u * begin + half);
  var x = fetch_x(mine, begin, lane);
  var later_w = w; // of the step after, where AHEAD is 2
  var later_x = x;
  if (AHEAD == 2u) {
    later_w = fetch(row, 2u * min(begin + 1u, end - 1u) + half);
    later_x = fetch_x(mine, min(begin + 1u, end - 1u), lane);
  }
  for (var s = begin; s < end; s += AHEAD) {
    workgroupBarrier();
    place(w, x, lane);
    workgroupBarrier();
    w = fetch(row, 2u * min(s + AHEAD, end - 1u) + half);
    x = fetch_x(mine, min(s + AHEAD, end - 1u), lane);
    multiply(&sums, left_at, right_at);
    if (AHEAD == 2u && s + 1u < end) {
      workgroupBarrier();
      place(later_w, later_x, lane);
      workgroupBarrier();
      later_w = fetch(row, 2u * min(s + 3u, end - 1u) + half);
      later_x = fetch_x(mine, min(s + 3u, end - 1u), lane);
      multiply(&sums, left_at, right_at);
    }
  }

  // write, a fragment of each subgroup at a time
  subgroupMatrixStore<col_major>(&corners, M * N * subgroup, sums.a0, M);
  write(mine, lane, 0u, 0u);
  if (TALL > 1u) {
    subgroupMatrixStore<col_major>(&corners, M * N * subgroup, sums.b0, M);
    write(mine, lane, 1u, 0u);
  }
  if (WIDE > 1u) {
    subgroupMatrixStore<col_major>(&corners, M * N * subgroup, sums.a1, M);
    write(mine, lane, 0u, 1u);
    if (TALL > 1u) {
      subgroupMatrixStore<col_major>(&corners, M * N * subgroup, sums.b1, M);
      write(mine, lane, 1u, 1u);
    }
  }
  if (WIDE > 2u) {
    subgroupMatrixStore<col_major>(&corners, M * N * subgroup, sums.a2, M);
    write(mine, lane, 0u, 2u);
    subgroupMatrixStore<col_major>(&corners, M * N * subgroup, sums.a3, M);
    write(mine, lane, 0u, 3u);
    if (TALL > 1u) {
      subgroupMatrixStore<col_major>(&corners, M * N * subgroup, sums.b2, M);
      write(mine, lane, 1u, 2u);
      subgroupMatrixStore<col_major>(&corners, M * N * subgroup, sums.b3, M);
      write(mine, lane, 1u, 3u);
    }
  }
}

// Writes the fragments that all subgroups left, h-th of their rows and v-th of their tokens.
fn write(mine: Place, lane: u32, h: u32, v: u32) {
  workgroupBarrier();
  for (var i = lane; i < CORNERS; i += LANES) {
    let owner = i / (M * N);
    let row = mine.first_row + M * (TALL * (owner % ACROSS) + h) + i % M;
    let token = N * (WIDE * (owner / ACROSS) + v) + i % (M * N) / M;
    if (row < ROWS && token < mine.live) {
      put(mine, row, token, corners[i] * factor_of(row, mine.first_token + token));
    }
  }
  workgroupBarrier();
}
