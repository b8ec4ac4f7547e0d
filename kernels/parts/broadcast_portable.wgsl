// broadcast: a tile of Y = X W^T for a few tokens, a row of W to a lane, the same for packed and dense weights.
//
// A workgroup is SLICES x ACROSS lanes and makes ACROSS x TALL rows x TOKENS tokens. In a step each slice has
// a unit of 32 columns: a lane decodes those of its TALL rows once and multiplies them with the X of all
// tokens, which lies in workgroup memory and is the same for all lanes of a slice, so that one load of four
// columns is broadcast to them and serves 4 TALL products of each. What the next step needs is on its way to
// registers meanwhile.
// Sums go up in steps (32, 16 units, the units of a slice, all), which bounds rounding.
// needs:    parts/place; UNITS, and finished() of parts/weights or parts/dense; bound x; and of the kernel
//             Fetched, fetch(row, unit)   what there is in memory of a unit of a row
//             word_of(fetched, i)         its columns 8 i .. 8 i + 8 as Eight
// gives:    walk() the tile that is mine, by all lanes together

override ACROSS: u32 = 32;  // lanes of a slice: 32 or 64
override SLICES: u32 = 4;
override TALL: u32 = 2;     // rows of a lane: 1 or 2
override TOKENS: u32 = 8;   // 4, 8, 16 or, of one row, 32

override LANES: u32 = ACROSS * SLICES;
override TILE_ROWS: u32 = ACROSS * TALL;
override TILE_TOKENS: u32 = TOKENS;
override STEPS: u32 = (UNITS + SLICES - 1u) / SLICES;

// X of a step, [SLICES, TOKENS, 8] fours of columns; at the end sums of a row a lane, [SLICES, TOKENS / 4, ACROSS]
// fours of tokens.
override STEP_FOURS: u32 = 8u * TOKENS * SLICES;
override X_FOURS: u32 = SLICES * TOKENS * max(8u, ACROSS / 4u);
var<workgroup> fours: array<vec4f, X_FOURS>;

// Sums [TOKENS, TALL] of a unit, since sums were last raised, and of all.
var<private> products: array<f32, 32>;
var<private> recent: array<f32, 32>;
var<private> total: array<f32, 32>;

// The lane's share of X in a step; beyond the last unit that repeats.
fn fetch_x(place: Place, at_step: u32, lane: u32) -> array<vec4f, 4> {
  var share = array<vec4f, 4>();
  for (var i = 0u; i < 4u && LANES * i < STEP_FOURS; i++) {
    let at = lane + LANES * i;
    let unit = min(SLICES * at_step + at / (8u * TOKENS), UNITS - 1u);
    let token = place.first_token + min(at / 8u % TOKENS, place.live - 1u);
    share[i] = x[8u * (token * UNITS + unit) + at % 8u];
  }
  return share;
}

// Leaves it in workgroup memory, zeros beyond the last unit.
fn place_x(share: array<vec4f, 4>, at_step: u32, lane: u32) {
  for (var i = 0u; i < 4u && LANES * i < STEP_FOURS; i++) {
    let at = lane + LANES * i;
    let unit = SLICES * at_step + at / (8u * TOKENS);
    if (LANES * (i + 1u) <= STEP_FOURS || at < STEP_FOURS) {
      fours[at] = select(vec4f(0.0), share[i], unit < UNITS);
    }
  }
}

// Units of the lane's rows. By name: Mesa 25.0 takes a copy of an array for what the array becomes.
struct Units {
  upper: Fetched,
  lower: Fetched,
}

fn fetch_units(place: Place, at_step: u32, lane: u32) -> Units {
  let unit = min(SLICES * at_step + lane / ACROSS, UNITS - 1u);
  let row = place.first_row + lane % ACROSS;
  let upper = fetch(min(row, ROWS - 1u), unit);
  if (TALL == 1u) { return Units(upper, upper); }
  return Units(upper, fetch(min(row + ACROSS, ROWS - 1u), unit));
}

fn add_eight(w: Eight, lo: vec4f, hi: vec4f, sum: f32) -> f32 {
  let four = fma(w.lo.w, lo.w, fma(w.lo.z, lo.z, fma(w.lo.y, lo.y, fma(w.lo.x, lo.x, sum))));
  return fma(w.hi.w, hi.w, fma(w.hi.z, hi.z, fma(w.hi.y, hi.y, fma(w.hi.x, hi.x, four))));
}

// Adds the products of columns 8 i .. 8 i + 8 of a unit of the lane's rows with all tokens.
fn multiply(units: Units, slice: u32, i: u32) {
  let upper = word_of(units.upper, i);
  let lower = word_of(units.lower, i);
  for (var token = 0u; token < TOKENS; token++) {
    let at = 8u * (slice * TOKENS + token) + 2u * i;
    let k = token * TALL;
    let lo = fours[at];
    let hi = fours[at + 1u];
    products[k] = add_eight(upper, lo, hi, products[k]);
    if (TALL == 2u) { products[k + 1u] = add_eight(lower, lo, hi, products[k + 1u]); }
  }
}

fn add_products() {
  for (var k = 0u; k < TALL * TOKENS; k++) {
    recent[k] += products[k];
    products[k] = 0.0;
  }
}

fn raise_sums() {
  for (var k = 0u; k < TALL * TOKENS; k++) {
    total[k] += recent[k];
    recent[k] = 0.0;
  }
}

// Adds up what the slices have of the r-th row of each lane, and writes it.
fn write(place: Place, r: u32, lane: u32) {
  let quads = TOKENS / 4u;
  for (var q = 0u; q < quads; q++) {
    let k = 4u * q * TALL + r;
    fours[(lane / ACROSS * quads + q) * ACROSS + lane % ACROSS] =
      vec4f(total[k], total[k + TALL], total[k + 2u * TALL], total[k + 3u * TALL]);
  }
  workgroupBarrier();
  for (var at = lane; at < quads * ACROSS; at += LANES) {
    var sum = vec4f(0.0);
    for (var s = 0u; s < SLICES; s++) { sum += fours[s * quads * ACROSS + at]; }
    let across = at % ACROSS;
    for (var i = 0u; i < 4u; i++) {
      let row = place.first_row + across + ACROSS * r;
      put(place, row, 4u * (at / ACROSS) + i, finished(min(row, ROWS - 1u), sum[i]));
    }
  }
  workgroupBarrier();
}

// Walks the part of the columns of a tile with a token at least, and writes the tile.
fn walk(place: Place, lane: u32) {
  let begin = place.part * STEPS / SPLIT;
  let end = (place.part + 1u) * STEPS / SPLIT;
  let slice = lane / ACROSS;
  var units = fetch_units(place, begin, lane);
  var share = fetch_x(place, begin, lane);
  for (var first = begin; first < end; first += 16u) {
    for (var at_step = first; at_step < min(first + 16u, end); at_step++) {
      place_x(share, at_step, lane);
      workgroupBarrier();
      let now = units;
      let next = min(at_step + 1u, end - 1u);
      units = fetch_units(place, next, lane);
      share = fetch_x(place, next, lane);
      for (var i = 0u; i < 4u; i++) { multiply(now, slice, i); }
      add_products();
      workgroupBarrier();
    }
    raise_sums();
  }
  for (var r = 0u; r < TALL; r++) { write(place, r, lane); }
}
