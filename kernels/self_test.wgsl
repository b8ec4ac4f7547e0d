// self_test: y = W x with a known answer, to see that a device computes at all and computes right.
//
//   codes   [ROWS, 2]   u32   16 codes of 4 bits a row, lowest column in the lowest bits
//   levels  [16]        f32   the level of each code
//   scales  [ROWS]      u32   two f16: low half for levels >= 0, high half for levels < 0
//   x       [16]        f32
//   y       [ROWS, 3]   f32   y[r] = sum over c of x[c] * level * scale, then both scales as f32
//
// dispatch: one workgroup a row, ROWS folded over x and y; 16 lanes, a column each
// needs:    nothing beyond core WebGPU
// spec:     expected() in lib/device.ts

override ROWS: u32;

const COLS = 16u;

@group(0) @binding(0) var<storage, read> codes: array<u32>;
@group(0) @binding(1) var<storage, read> levels: array<f32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

var<workgroup> partial: array<f32, COLS>;

@compute @workgroup_size(COLS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // ---- which row is mine
  let row = group.y * groups.x + group.x;
  let inside = row < ROWS;
  let safe_row = min(row, ROWS - 1u);

  // ---- decode one weight, multiply
  let code = (codes[2u * safe_row + lane / 8u] >> (4u * (lane % 8u))) & 15u;
  let pair = unpack2x16float(scales[safe_row]);
  let level = levels[code];
  partial[lane] = x[lane] * level * select(pair.x, pair.y, level < 0.0);

  // ---- reduce in a tree
  for (var width = COLS / 2u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (lane < width) {
      partial[lane] += partial[lane + width];
    }
  }

  // ---- write
  if (inside && lane == 0u) {
    y[3u * row] = partial[0];
    y[3u * row + 1u] = pair.x;
    y[3u * row + 2u] = pair.y;
  }
}
