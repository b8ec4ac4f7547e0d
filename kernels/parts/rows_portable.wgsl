// rows: what a lane keeps of each of its TALL rows: where it begins, and what it has come to, in two steps.
//
// needs:    parts/weights, parts/lines; TALL * BATCH <= 16; add_unit(recent, sum, token) of the kernel
// gives:    take_rows() of a line, then start_of() a row: its first unit and its first group; add_sum(): the
//           i-th, token * TALL + row, of a unit; raise_sums() after 8 units; total_of() the i-th, a lane's share

var<private> starts: array<vec2u, 16>;
var<private> recent: array<f32, 16>; // since sums were last raised
var<private> total: array<f32, 16>;

fn take_rows(line: u32) {
  for (var r = 0u; r < TALL; r++) {
    let row = row_of(line, r);
    starts[r] = vec2u(row * UNITS, first_group(row));
  }
}

fn start_of(r: u32) -> vec2u {
  return starts[r];
}

fn add_sum(i: u32, sum: f32, token: u32) {
  recent[i] = add_unit(recent[i], sum, token);
}

fn raise_sums() {
  for (var i = 0u; i < TALL * BATCH; i++) {
    total[i] += recent[i];
    recent[i] = 0.0;
  }
}

fn total_of(i: u32) -> f32 {
  return total[i];
}
