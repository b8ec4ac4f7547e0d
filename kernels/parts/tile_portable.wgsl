// tile: a register tile of Y = X W^T, the same for packed and dense weights.
//
// A workgroup of ACROSS x 8 lanes makes 4 ACROSS rows x 8 WIDE tokens; it walks the columns 32 at a time,
// W and X of that step in workgroup memory as vec4f along the columns. What the next step needs is on its
// way to registers meanwhile. A lane owns rows across + ACROSS i, i < 4, and tokens down + 8 j, j < WIDE.
// Sums go up in steps (8, 4 eights, 16 steps, all), which bounds rounding.
// needs:    parts/place; UNITS; bound x; finished() of parts/weights or parts/dense; and of the kernel
//             fetch(row, unit, half)   what there is in memory of 16 columns, half a unit, of a row
//             place_w(fetched, at)     those as four vec4f from tile_w[at] on
// gives:    walk() the tile that is mine, write() it

override ACROSS: u32 = 8;
override WIDE: u32 = 4;

override LANES: u32 = 8u * ACROSS;
override TILE_ROWS: u32 = 4u * ACROSS;
override TILE_TOKENS: u32 = 8u * WIDE;

// Row or token r has its eight vec4f at 9 r: the ninth keeps lanes off each other's banks.
override W_FOURS: u32 = 9u * TILE_ROWS;
override X_FOURS: u32 = 9u * TILE_TOKENS;
var<workgroup> tile_w: array<vec4f, W_FOURS>;
var<workgroup> tile_x: array<vec4f, X_FOURS>;

var<private> sums: array<vec4f, 8>;     // by token j, a row a component
var<private> pending: array<vec4f, 8>;  // of the last 16 steps

// The lane's share of X in a step.
fn fetch_x(place: Place, unit: u32, lane: u32) -> array<vec4f, 4> {
  var fours = array<vec4f, 4>();
  for (var i = 0u; i < 4u && i * LANES < 8u * TILE_TOKENS; i++) {
    let at = lane + i * LANES;
    let token = place.first_token + min(at / 8u, place.live - 1u);
    fours[i] = x[8u * (token * UNITS + unit) + at % 8u];
  }
  return fours;
}

fn add_eight(lo: vec4f, hi: vec4f, v: vec4f, w: vec4f) -> f32 {
  let sum = fma(lo.w, v.w, fma(lo.z, v.z, fma(lo.y, v.y, lo.x * v.x)));
  return fma(hi.w, w.w, fma(hi.z, w.z, fma(hi.y, w.y, fma(hi.x, w.x, sum))));
}

// Adds the product of the two tiles; tokens beyond the last repeat it.
fn multiply(across: u32, down: u32, last: bool) {
  var product = array<vec4f, 8>();
  for (var k = 0u; k < 8u; k += 2u) {
    var lo: array<vec4f, 4>;
    var hi: array<vec4f, 4>;
    for (var i = 0u; i < 4u; i++) {
      lo[i] = tile_w[9u * (across + ACROSS * i) + k];
      hi[i] = tile_w[9u * (across + ACROSS * i) + k + 1u];
    }
    for (var j = 0u; j < WIDE; j++) {
      let t = tile_x[9u * (down + 8u * j) + k];
      let u = tile_x[9u * (down + 8u * j) + k + 1u];
      product[j] += vec4f(
        add_eight(t, u, lo[0], hi[0]), add_eight(t, u, lo[1], hi[1]),
        add_eight(t, u, lo[2], hi[2]), add_eight(t, u, lo[3], hi[3]),
      );
    }
  }
  for (var j = 0u; j < WIDE; j++) {
    pending[j] += product[j];
    if (last) {
      sums[j] += pending[j];
      pending[j] = vec4f(0.0);
    }
  }
}

// Walks its part of the units of a tile with a token at least; by all lanes together.
fn walk(place: Place, lane: u32) {
  let begin = place.part * UNITS / SPLIT;
  let end = (place.part + 1u) * UNITS / SPLIT;
  let row = min(place.first_row + lane / 2u, ROWS - 1u);
  var w = fetch(row, begin, lane % 2u);
  var fours = fetch_x(place, begin, lane);
  for (var unit = begin; unit < end; unit++) {
    place_w(w, 9u * (lane / 2u) + 4u * (lane % 2u));
    for (var i = 0u; i < 4u && i * LANES < 8u * TILE_TOKENS; i++) {
      let at = lane + i * LANES;
      if (at < 8u * TILE_TOKENS) { tile_x[at + at / 8u] = fours[i]; }
    }
    workgroupBarrier();
    let next = min(unit + 1u, end - 1u);
    w = fetch(row, next, lane % 2u);
    fours = fetch_x(place, next, lane);
    multiply(lane % ACROSS, lane / ACROSS, unit % 16u == 15u || unit + 1u == end);
    workgroupBarrier();
  }
}

// Writes the tile, or its part.
fn write(place: Place, lane: u32) {
  for (var j = 0u; j < WIDE; j++) {
    for (var i = 0u; i < 4u; i++) {
      let row = place.first_row + lane % ACROSS + ACROSS * i;
      put(place, row, lane / ACROSS + 8u * j, finished(min(row, ROWS - 1u), sums[j][i]));
    }
  }
}
