// byte_tokens: activations as bytes, each unit of 32 columns in steps of a 127th of its largest.
//
//   x       [BATCH, UNITS * 32] as vec4f   f32   rows of whole units, zeros beyond COLS
//   byte_x  [BATCH, UNITS, 3]  as vec4u    i8    eight words of four columns, then the step as f32 and nothing
//
// Of each eight columns a word has the even ones and the next the odd ones; IN_ORDER, the first four and
// the last four. With m the largest |x| of a unit, |x - step byte| <= m / 254 and a few units of 2^-24 m;
// where m < 2^-119, whose 127th is no normal f32, a unit is 0.
//
// dispatch: a lane for each unit of each token
// parts:    none
// spec:     byteTokens() in lib/pointwise_reference.ts

override COLS: u32;
override BATCH: u32 = 1;
override IN_ORDER: bool = false;
override WORKGROUP: u32 = 64;

override UNITS: u32 = (COLS + 31u) / 32u;

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> byte_x: array<vec4u>;

fn bytes_of(values: vec4f, steps: f32) -> u32 {
  return pack4xI8(vec4i(round(values * steps)));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let unit = id.x;
  if (unit >= BATCH * UNITS) { return; }
  var four = vec4f(0.0);
  for (var i = 0u; i < 8u; i++) { four = max(four, abs(x[8u * unit + i])); }
  let most = max(max(four.x, four.y), max(four.z, four.w));
  let small = most < 0x1p-119;
  let steps = select(127.0 / most, 0.0, small);
  var words: array<u32, 8>;
  for (var i = 0u; i < 8u; i += 2u) {
    let lo = x[8u * unit + i];
    let hi = x[8u * unit + i + 1u];
    words[i] = bytes_of(select(vec4f(lo.xz, hi.xz), lo, IN_ORDER), steps);
    words[i + 1u] = bytes_of(select(vec4f(lo.yw, hi.yw), hi, IN_ORDER), steps);
  }
  byte_x[3u * unit] = vec4u(words[0], words[1], words[2], words[3]);
  byte_x[3u * unit + 1u] = vec4u(words[4], words[5], words[6], words[7]);
  byte_x[3u * unit + 2u] = vec4u(bitcast<u32>(select(most / 127.0, 0.0, small)), 0u, 0u, 0u);
}
