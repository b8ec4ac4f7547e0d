// naive_two_scale: y = W x, two scales looked at for each weight: a rival, written from what is published of the
// paper's own kernel. 32 x 4 threads, a row for each 32; a thread takes eight weights a step, and for each of them
// a level from a table in memory and both scales of its group, of which it keeps one.
//
//   codes   [ROWS, COLS / 8]    u32   eight codes a word, the first lowest
//   scales  [ROWS, GROUPS]      u32   a pair of f16: positive, negative
//   levels  [16]                f32   by code
//   x       [COLS]              f32
//   y       [ROWS]              f32
//
// Sums are f32; the paper's are f16. The 32 partial sums meet in workgroup memory.
// bound:    |y - ref| <= (COLS / 32 + 16) * 2^-24 * sum |x w| against f64
// dispatch: one workgroup for 4 rows, folded over x and y
// needs:    COLS a multiple of 8
// parts:    none

override ROWS: u32;
override COLS: u32;
override GROUP: u32;

override GROUPS: u32 = (COLS + GROUP - 1u) / GROUP;

@group(0) @binding(0) var<storage, read> codes: array<u32>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> levels: array<f32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

var<workgroup> partial: array<f32, 128>;

@compute @workgroup_size(32, 4)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_id) thread: vec3u,
) {
  let mine = 4u * (block.y * blocks.x + block.x) + thread.y;
  let row = min(mine, ROWS - 1u);
  var sum = 0.0;
  for (var word = thread.x; word < COLS / 8u; word += 32u) {
    let eight = codes[row * (COLS / 8u) + word];
    for (var j = 0u; j < 8u; j++) {
      let column = 8u * word + j;
      let level = levels[(eight >> (4u * j)) & 15u];
      let at = row * GROUPS + column / GROUP;
      let positive = unpack2x16float(scales[at]).x;
      let negative = unpack2x16float(scales[at]).y;
      sum += level * select(negative, positive, level >= 0.0) * x[column];
    }
  }

  // the sum over the row's threads
  let at = 32u * thread.y + thread.x;
  partial[at] = sum;
  for (var apart = 16u; apart > 0u; apart /= 2u) {
    workgroupBarrier();
    if (thread.x < apart) { partial[at] += partial[at + apart]; }
  }
  if (thread.x == 0u && mine < ROWS) { y[mine] = partial[at]; }
}
