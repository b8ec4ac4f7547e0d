// quads: sums of Y = X W^T for 4 rows a lane and 16 tokens, tokens handed round in quads of lanes.
//
// On a CPU that plays a GPU every load is a loop over lanes, and arithmetic is nearly free. So a lane
// keeps four columns of its own four rows, loads four columns of one token of each four, and gets
// those of the other three from its quad. Sums go up in steps (4, 32, 16, all), which bounds rounding.
// needs:    lanes in quads that take part together; WORKGROUP a multiple of 4
// gives:    sums[token][row] after finish()

enable subgroups;

override WORKGROUP: u32 = 8;

var<private> sums: array<vec4f, 16>;
var<private> block: array<vec4f, 16>;    // of the last 16 flushes
var<private> pending: array<vec4f, 16>;  // since the last flush

// Adds four columns of tokens first .. first + 3, of which this lane holds one, times those of rows.
fn add_quad(first: u32, mine: vec4f, rows: mat4x4f) {
  pending[first] += quadBroadcast(mine, 0u) * rows;
  pending[first + 1u] += quadBroadcast(mine, 1u) * rows;
  pending[first + 2u] += quadBroadcast(mine, 2u) * rows;
  pending[first + 3u] += quadBroadcast(mine, 3u) * rows;
}

// Brings what is pending one step up, every 16th time two.
fn flush(count: u32) {
  for (var token = 0u; token < 16u; token++) {
    block[token] += pending[token];
    pending[token] = vec4f(0.0);
    if (count % 16u == 15u) {
      sums[token] += block[token];
      block[token] = vec4f(0.0);
    }
  }
}

// Adds what is still on the way.
fn finish() {
  for (var token = 0u; token < 16u; token++) { sums[token] += block[token] + pending[token]; }
}
