// dense: a plain matrix W [ROWS, COLS] in f32, f16 or bf16.
//
//   weights  [ROWS, EIGHTS * 8]   vec4u   four words at a time: 4 f32, or 8 16-bit floats, low half
//                                         first; a row ends in zeros beyond COLS
//
// needs:    nothing of the device: 16-bit floats are taken apart as words
// spec:     denseRow() in lib/linear_reference.ts

override ROWS: u32;
override COLS: u32;
override DTYPE: u32;                   // 0 f32, 1 f16, 2 bf16
override F16_SUBNORMALS: bool = true;  // whether unpack2x16float keeps them

override EIGHTS: u32 = (COLS + 7u) / 8u;
override UNITS: u32 = (COLS + 31u) / 32u;

@group(0) @binding(0) var<storage, read> weights: array<vec4u>;

// Eight columns.
struct Eight {
  lo: vec4f,
  hi: vec4f,
}

fn halves(pair: u32) -> vec2f {
  if (DTYPE == 2u) { return vec2f(bitcast<f32>(pair * 0x10000u), bitcast<f32>(pair & 0xffff0000u)); }
  if (F16_SUBNORMALS) { return unpack2x16float(pair); }
  return vec2f(half(pair & 0xffffu), half(pair >> 16u));
}

// An f16, subnormals kept by arithmetic in f32.
fn half(bits: u32) -> f32 {
  let magnitude = bits & 0x7fffu;
  let small = f32(magnitude) * 0x1p-24;
  let size = select(unpack2x16float(magnitude).x, small, magnitude < 0x400u);
  return select(size, -size, bits > 0x7fffu);
}

// Eight columns as they lie in memory; 16-bit floats have no second four words.
struct Words {
  first: vec4u,
  second: vec4u,
}

// Columns 8 eight .. 8 eight + 8 of a row, as they lie there.
fn words8(row: u32, eight: u32) -> Words {
  let at = row * EIGHTS + eight;
  if (DTYPE == 0u) { return Words(weights[2u * at], weights[2u * at + 1u]); }
  return Words(weights[at], vec4u(0u));
}

fn eight_of(words: Words) -> Eight {
  if (DTYPE == 0u) { return Eight(bitcast<vec4f>(words.first), bitcast<vec4f>(words.second)); }
  return Eight(
    vec4f(halves(words.first.x), halves(words.first.y)),
    vec4f(halves(words.first.z), halves(words.first.w)),
  );
}

fn load8(row: u32, eight: u32) -> Eight {
  return eight_of(words8(row, eight));
}

// A sum over a row with what is still to be multiplied, as parts/weights has it: nothing.
fn finished(_row: u32, sum: f32) -> f32 {
  return sum;
}
