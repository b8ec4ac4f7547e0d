// constant_table: y = W x, a thread an output: a rival, written from what is published of the operator for
// bitsandbytes' 4-bit weights in a WebGPU runtime for ONNX. A thread walks its whole row, four codes at a time,
// and looks levels up in an array of the module that it first copies to memory of its own.
//
//   codes   [ROWS, COLS / 8]    u32   eight codes a word, the first lowest
//   scales  [ROWS, GROUPS]      u32   a pair of f16 where TWO, else [.., GROUPS / 2 rounded up], one f16 a group
//   x       [COLS] as vec4f     f32
//   y       [ROWS]              f32
//
// bound:    |y - ref| <= (COLS + 4) * 2^-24 * sum |x w| against f64: sums go up one after the other
// dispatch: one workgroup for 64 rows, folded over x and y
// needs:    COLS a multiple of 8, GROUP of 4
// parts:    none

override ROWS: u32;
override COLS: u32;
override GROUP: u32;
override TWO: bool;   // whether each side of zero has its scale
override FP4: bool;   // whether codes are e2m1, sign and magnitude; else nf4

override GROUPS: u32 = (COLS + GROUP - 1u) / GROUP;

@group(0) @binding(0) var<storage, read> codes: array<u32>;
@group(0) @binding(1) var<storage, read> scales: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const NF4_LEVELS = array<f32, 16>(
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
  -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
  0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
);
const FP4_LEVELS = array<f32, 16>(
  0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0,
);

fn load_scales(row: u32, group: u32) -> vec2f {
  if (TWO) { return unpack2x16float(scales[row * GROUPS + group]); }
  let pair = unpack2x16float(scales[row * ((GROUPS + 1u) / 2u) + group / 2u]);
  return vec2f(select(pair.x, pair.y, (group & 1u) == 1u));
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = 64u * (block.y * blocks.x + block.x) + lane;
  if (row >= ROWS) { return; }
  var table = NF4_LEVELS;
  if (FP4) { table = FP4_LEVELS; }

  var sum = 0.0;
  for (var k = 0u; k < COLS; k += 4u) {
    let four = codes[row * (COLS / 8u) + k / 8u] >> (4u * (k % 8u));
    let scale = load_scales(row, k / GROUP);
    let level = vec4f(
      table[four & 15u],
      table[(four >> 4u) & 15u],
      table[(four >> 8u) & 15u],
      table[(four >> 12u) & 15u],
    );
    sum += dot(level * select(vec4f(scale.y), vec4f(scale.x), level >= vec4f(0.0)), x[k / 4u]);
  }
  y[row] = sum;
}
