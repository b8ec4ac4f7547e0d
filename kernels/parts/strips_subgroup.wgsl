// strips: sums of Y = X W^T for up to 16 tokens: a subgroup walks down W, strip by strip of its columns.
//
// On a CPU that plays a GPU every load is a loop over lanes, arithmetic is nearly free, and an array that
// a loop indexes is memory to be loaded too. So each lane takes a unit of columns of all tokens, keeps it in
// variables of its own while the subgroup walks down EACH rows, and writes out its products one by one.
// Of a row each lane then has a part of every token's sum; by swaps, which are one instruction, each lane
// becomes the whole of one of them. Of one token or two, several rows come to the lanes of a subgroup.
// Sums go up in steps (8, 32, WORKGROUP units, 64 units, all), which bounds rounding.
// needs:    WORKGROUP the lanes of a subgroup, 4 or 8; bound x, bias, y and step; UNITS of W;
//           ROWS and finished() of parts/weights or parts/dense; and of the kernel
//             add_unit(row, unit)  hands the eight fours of a unit's columns to add_eight(), in pairs
// gives:    walk() for the tile of a workgroup: rows FIRST_ROW .. FIRST_ROW + ROWS of y, or added to where
//           ADD; add_eight()

enable subgroups;

override WORKGROUP: u32 = 8;
override TOKENS: u32 = 8;  // that a workgroup serves: 1, 2, 4, 8 or 16
override EACH: u32 = 256;  // rows that a workgroup serves
override BIAS: bool = false;
override FIRST_ROW: u32 = 0;
override OUT_ROWS: u32;
override ADD: bool = false;

// What a lane has taken, [TOKENS, 8] fours of columns: of one token or two, and of quads of tokens.
var<private> few: array<vec4f, 16>;
var<private> quads: array<mat4x4f, 32>;  // [TOKENS / 4, 8]: a token a column

// Its parts of a row's sums, by quad of tokens.
var<private> parts: array<vec4f, 4>;

// Sums of whole rows, [EACH, TOKENS]. Lane l keeps those at l + WORKGROUP i and nobody else looks at them, so
// that there is no barrier.
override SUMS: u32 = TOKENS * EACH;
var<workgroup> sums: array<f32, SUMS>;

// Four i of a unit of a token, zeros beyond the last unit.
fn four_of(token: u32, unit: u32, i: u32) -> vec4f {
  let four = x[8u * (UNITS * min(token, step.x - 1u) + min(unit, UNITS - 1u)) + i];
  return select(vec4f(0.0), four, unit < UNITS);
}

// A four of a token becomes the last, and those before it move down.
fn take_one(at: u32, four: vec4f) {
  few[at] = few[at + 1u];
  few[at + 1u] = few[at + 2u];
  few[at + 2u] = few[at + 3u];
  few[at + 3u] = few[at + 4u];
  few[at + 4u] = few[at + 5u];
  few[at + 5u] = few[at + 6u];
  few[at + 6u] = few[at + 7u];
  few[at + 7u] = four;
}

// The same of four tokens.
fn take_quad(at: u32, token: u32, unit: u32, i: u32) {
  quads[at] = quads[at + 1u];
  quads[at + 1u] = quads[at + 2u];
  quads[at + 2u] = quads[at + 3u];
  quads[at + 3u] = quads[at + 4u];
  quads[at + 4u] = quads[at + 5u];
  quads[at + 5u] = quads[at + 6u];
  quads[at + 6u] = quads[at + 7u];
  quads[at + 7u] = mat4x4f(
    four_of(token, unit, i),
    four_of(token + 1u, unit, i),
    four_of(token + 2u, unit, i),
    four_of(token + 3u, unit, i),
  );
}

// Takes a unit of all tokens, in eight turns: compilers that knew the number would unroll them for seconds.
fn take(token: u32, unit: u32) {
  for (var i = 0u; i < 2u * step.w; i++) {
    if (TOKENS < 4u) {
      take_one(0u, four_of(token, unit, i));
      if (TOKENS == 2u) { take_one(8u, four_of(token + 1u, unit, i)); }
      continue;
    }
    take_quad(0u, token, unit, i);
    if (TOKENS > 4u) { take_quad(8u, token + 4u, unit, i); }
    if (TOKENS > 8u) {
      take_quad(16u, token + 8u, unit, i);
      take_quad(24u, token + 12u, unit, i);
    }
  }
}

// Products with four tokens. A vector times a matrix might be summed in another order than of one token.
fn times(w: vec4f, quad: mat4x4f) -> vec4f {
  return vec4f(dot(w, quad[0]), dot(w, quad[1]), dot(w, quad[2]), dot(w, quad[3]));
}

fn add_quad(quad: u32, i: u32, lo: vec4f, hi: vec4f) {
  parts[quad] += times(lo, quads[8u * quad + i]) + times(hi, quads[8u * quad + i + 1u]);
}

// Adds fours i and i + 1 of the lane's unit of a row.
fn add_eight(i: u32, lo: vec4f, hi: vec4f) {
  if (TOKENS < 4u) {
    parts[0].x += dot(lo, few[i]) + dot(hi, few[i + 1u]);
    if (TOKENS == 2u) { parts[0].y += dot(lo, few[8u + i]) + dot(hi, few[9u + i]); }
    return;
  }
  add_quad(0u, i, lo, hi);
  if (TOKENS > 4u) { add_quad(1u, i, lo, hi); }
  if (TOKENS > 8u) {
    add_quad(2u, i, lo, hi);
    add_quad(3u, i, lo, hi);
  }
}

// The sum of token lane % 2 over two lanes, of two tokens.
fn pair_sum(two: vec2f, lane: u32) -> f32 {
  let odd = (lane & 1u) != 0u;
  return select(two.x, two.y, odd) + quadSwapX(select(two.y, two.x, odd));
}

// The sum of token lane % 4 over four lanes, of four tokens.
fn quad_sum(four: vec4f, lane: u32) -> f32 {
  let even = vec2f(pair_sum(four.xy, lane), pair_sum(four.zw, lane));
  let upper = (lane & 2u) != 0u;
  return select(even.x, even.y, upper) + quadSwapY(select(even.y, even.x, upper));
}

// The sum of token lane of the eight in two quads over eight lanes.
fn eight_sum(first: vec4f, second: vec4f, lane: u32) -> f32 {
  let one = quad_sum(first, lane);
  let two = quad_sum(second, lane);
  let upper = lane >= 4u;
  return select(one, two, upper) + subgroupShuffleXor(select(two, one, upper), 4u);
}

// The sum of token lane % TOKENS over all lanes, of four tokens at most.
fn few_sum(lane: u32) -> f32 {
  var sum = 0.0;
  if (TOKENS == 4u) { sum = quad_sum(parts[0], lane); }
  else {
    var two = parts[0].x;
    if (TOKENS == 2u) { two = pair_sum(parts[0].xy, lane); }
    else { two += quadSwapX(two); }
    sum = two + quadSwapY(two);
  }
  if (WORKGROUP == 8u) { sum += subgroupShuffleXor(sum, 4u); }
  return sum;
}

fn keep(at: u32, sum: f32, more: bool) {
  sums[at] = select(0.0, sums[at], more) + sum;
}

// Adds a row to the sums of as many tokens as there are lanes, or of more.
fn add_row(row: u32, r: u32, unit: u32, lane: u32, more: bool) {
  parts = array<vec4f, 4>();
  add_unit(row, unit);
  let at = TOKENS * r + lane;
  if (WORKGROUP == 8u) {
    keep(at, eight_sum(parts[0], parts[1], lane), more);
    if (TOKENS > 8u) { keep(at + 8u, eight_sum(parts[2], parts[3], lane), more); }
  } else {
    keep(at, quad_sum(parts[0], lane), more);
    if (TOKENS > 4u) { keep(at + 4u, quad_sum(parts[1], lane), more); }
    if (TOKENS > 8u) {
      keep(at + 8u, quad_sum(parts[2], lane), more);
      keep(at + 12u, quad_sum(parts[3], lane), more);
    }
  }
}

// Adds as many rows as make a sum for each lane, in a loop that is not unrolled either.
fn add_rows(row: u32, r: u32, unit: u32, lane: u32, more: bool) {
  var own = 0.0;
  for (var i = 0u; i < WORKGROUP / TOKENS * step.w / 4u; i++) {
    parts = array<vec4f, 4>();
    add_unit(min(row + i, ROWS - 1u), unit);
    own = select(own, few_sum(lane), lane / TOKENS == i);
  }
  keep(TOKENS * r + lane, own, more);
}

// Adds a sum to what earlier columns came to, if there are any.
fn put(row: u32, token: u32, sum: f32, more: bool) {
  if (token < step.x) {
    let at = FIRST_ROW + row;
    var start = 0.0;
    if (BIAS) { start = select(bias[at], 0.0, more); }
    let out = token * OUT_ROWS + at;
    y[out] = select(0.0, y[out], ADD || (UNITS > 64u && more)) + (finished(row, sum) + start);
  }
}

fn walk(tile: u32, lane: u32) {
  let tiles = (ROWS + EACH - 1u) / EACH;
  let row = EACH * (tile % tiles);
  let token = TOKENS * (tile / tiles);
  if (token >= step.x) { return; } // uniform over the workgroup
  let rows = min(EACH, ROWS - row);

  // loop over the units: a strip at a time, 64 units to a block
  for (var far = 0u; far < UNITS; far += 64u) {
    for (var near = far; near < min(far + 64u, UNITS); near += WORKGROUP) {
      take(token, near + lane);
      let unit = min(near + lane, UNITS - 1u);
      for (var r = 0u; r < rows; r += max(1u, WORKGROUP / TOKENS)) {
        if (TOKENS < WORKGROUP) { add_rows(row + r, r, unit, lane, near > far); }
        else { add_row(row + r, r, unit, lane, near > far); }
      }
    }
    for (var i = lane; i < TOKENS * rows; i += WORKGROUP) {
      put(row + i / TOKENS, token + i % TOKENS, sums[i], far > 0u);
    }
  }
}
