// rows: the same where eight lanes of a line add up at once, and each keeps an eighth of the sums.
//
// For devices that are a CPU with vectors of eight: there a lane's array is read and written a lane at a time,
// a hundred instructions a row, where eight lanes add up in six and a row's start takes four.
// needs:    parts/weights, parts/lines; SPAN a multiple of eight, whose octets are subgroups; TALL * BATCH <= 16;
//           add_unit(recent, sum, token) of the kernel
// gives:    take_rows(), start_of(), add_sum(), raise_sums() and total_of(), by all lanes together; a sum is the
//           lane's whose turn it is, and zero elsewhere

enable subgroups;

var<private> recent: vec2f; // of sums lane % 8 and lane % 8 + 8
var<private> total: vec2f;

fn take_rows(_line: u32) {}

fn start_of(line: u32, r: u32) -> vec2u {
  let row = row_of(line, r);
  return vec2u(row * UNITS, first_group(row));
}

fn mine_of(i: u32, lane: u32) -> vec2<bool> {
  return vec2u(lane % 8u, lane % 8u + 8u) == vec2u(i);
}

fn add_sum(i: u32, sum: f32, token: u32, lane: u32) {
  let one = add_unit(0.0, sum, token);
  let two = one + quadSwapX(one);
  let four = two + quadSwapY(two);
  let eight = four + subgroupShuffleXor(four, 4u);
  recent += select(vec2f(0.0), vec2f(eight), mine_of(i, lane));
}

fn raise_sums() {
  total += recent;
  recent = vec2f(0.0);
}

fn total_of(i: u32, lane: u32) -> f32 {
  let mine = select(vec2f(0.0), total, mine_of(i, lane));
  return mine.x + mine.y;
}
