// weights: a packed matrix W [ROWS, COLS] as lib/pack.ts lays it out, and how its codes become levels.
//
//   codes     [ROWS, UNITS * BITS]         u32    a unit is 32 columns; seen twice, as words and by fours
//   scales    [ROWS, GROUPS] or [.., /2]   u32    a pair of f16 a group, or one f16 a group; or bytes
//                                                 [ROWS, ROW_BYTES] of codes, see lib/pack_scales.ts
//   codebook  levels [16] as [4] vec4f, the power of two that finishes a sum, as two factors, and what
//             all scales share
//
// A level here is `decoded`: times 2^-14 for the bit decodes, which move a code's bits into an f16.
// codebook.factor makes up for it, and for the matrix's scaleExponent, once a sum. A coded scale is
// without the factor of its row or tensor too: row_factor() joins once a sum as well.
// needs:    table8() of a part `table`, `half_table`, `byte_table` or `levels`: levels of a word's eight codes
// spec:     unpackRow() in lib/pack.ts, storedPair() in lib/pack_scales.ts

override ROWS: u32;
override COLS: u32;
override GROUP: u32;                   // columns that share scales: a power of two, 2^31 for a whole row
override BITS: u32;                    // 3 or 4
override DECODE: u32;                  // 0 e2m1, 1 e2m0, 2 table
override SCALING: u32;                 // 0 one scale, 1 a scale a side, 2 scale and zero-point
override WHOLE: bool = false;          // whether codes are their own levels, and zero-points whole numbers
override F16_SUBNORMALS: bool = true;  // whether unpack2x16float keeps them
override SCALE_BITS: u32 = 16u;        // of a scale: 16 f16, 8 or 4 a code
override SCALE_SHIFT: u32 = 0u;        // brings a code's bits to their place in an f32
override SCALE_START: u32 = 0u;        // is added there
override ROW_FACTOR: bool = false;     // whether a row of codes begins with a factor

override LOOKED_UP: bool = DECODE == 2u && !WHOLE;

override UNITS: u32 = (COLS + 31u) / 32u;
override GROUPS: u32 = (COLS + GROUP - 1u) / GROUP;

override PAIR_BITS: u32 = SCALE_BITS * select(2u, 1u, SCALING == 0u); // of a group's codes
override CODE_BYTES: u32 = (GROUPS * PAIR_BITS + 7u) / 8u;
override ROW_BYTES: u32 = select(CODE_BYTES, (CODE_BYTES + 3u) & ~1u, ROW_FACTOR);

struct Codebook {
  levels: array<vec4f, 4>,
  factor: vec2f,
  shared_factor: f32,
}

@group(0) @binding(0) var<storage, read> codes: array<u32>;
@group(0) @binding(1) var<storage, read> codes4: array<vec4u>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
@group(0) @binding(3) var<uniform> codebook: Codebook;

// Decoded levels of eight columns.
struct Eight {
  lo: vec4f,
  hi: vec4f,
}

// The four words of a unit, eight codes each.
fn load_unit(row: u32, unit: u32) -> vec4u {
  return unit_at(row * UNITS + unit);
}

// The same, units counted through all rows.
fn unit_at(unit: u32) -> vec4u {
  if (BITS == 4u) { return codes4[unit]; }
  let at = 3u * unit;
  let a = codes[at];
  let b = codes[at + 1u];
  let c = codes[at + 2u];
  if (DECODE == 2u) {
    return vec4u(a, b, c, (a >> 24u) | ((b >> 24u) << 8u) | ((c >> 24u) << 16u));
  }
  return vec4u(a, b, c, ((a << 1u) & 0xa0a0a0a0u) | ((b >> 3u) & 0x0a0a0a0au) | ((c >> 4u) & 0x05050505u));
}

// Scales of a group: (positive, negative) or (scale, zero-point), or the one scale twice.
fn load_scales(row: u32, group: u32) -> vec2f {
  return scales_at(first_group(row), group);
}

// Groups before those of a row: with one scale a row has an even number of them. Of codes the byte at
// which they begin.
fn first_group(row: u32) -> u32 {
  if (SCALE_BITS < 16u) { return row * ROW_BYTES + select(0u, 2u, ROW_FACTOR); }
  return row * select((GROUPS + 1u) & ~1u, GROUPS, SCALING != 0u);
}

// The same as load_scales, for a row of which first_group() is known.
fn scales_at(first: u32, group: u32) -> vec2f {
  if (SCALE_BITS < 16u) { return coded_scales(first + group * PAIR_BITS / 8u, group * PAIR_BITS % 8u); }
  let at = first + group;
  if (SCALING != 0u) { return unpack2x16float(scales[at]); }
  let pair = unpack2x16float(scales[at / 2u]);
  return vec2f(select(pair.x, pair.y, (at & 1u) == 1u));
}

// Scales of the halves of a unit: groups of 16 columns have two, of which a short last unit has one.
struct Halves {
  first: vec2f,
  second: vec2f,
}

fn unit_scales(row: u32, unit: u32) -> Halves {
  let group = unit * 32u / GROUP;
  let first = load_scales(row, group);
  if (GROUP >= 32u) { return Halves(first, first); }
  return Halves(first, load_scales(row, min(GROUPS - 1u, group + 1u)));
}

// Two codes, or the one twice, from a bit of a byte on; no pair lies across two words.
fn coded_scales(byte: u32, bit: u32) -> vec2f {
  let codes = scales[byte / 4u] >> (8u * (byte % 4u) + bit);
  let first = coded_scale(codes);
  if (SCALING == 0u) { return vec2f(first); }
  if (SCALING == 2u) { return vec2f(first, f32(extractBits(codes, SCALE_BITS, SCALE_BITS))); }
  return vec2f(first, coded_scale(codes >> SCALE_BITS));
}

// What the code in the low bits stands for.
fn coded_scale(codes: u32) -> f32 {
  return bitcast<f32>((extractBits(codes, 0u, SCALE_BITS) << SCALE_SHIFT) + SCALE_START);
}

// What coded scales of a row are still to be multiplied with; 1 for f16.
fn row_factor(row: u32) -> f32 {
  if (!ROW_FACTOR) { return codebook.shared_factor; }
  let byte = row * ROW_BYTES;
  return unpack2x16float(scales[byte / 4u] >> (8u * (byte % 4u))).x;
}

// Scales of a group with their factor, exact; a zero-point has none.
fn whole_scales(row: u32, group: u32) -> vec2f {
  let scale = load_scales(row, group);
  if (SCALE_BITS == 16u) { return scale; }
  let factor = row_factor(row);
  return scale * vec2f(factor, select(factor, 1.0, SCALING == 2u));
}

// Two f16 whose bits are in place.
fn halves(pair: u32) -> vec2f {
  if (F16_SUBNORMALS || DECODE != 0u) { return unpack2x16float(pair); }
  return vec2f(half(pair & 0xffffu), half(pair >> 16u));
}

// An e2m1 code in place, s0000eem00.., as an f32 built without a subnormal.
fn half(bits: u32) -> f32 {
  let magnitude = (bits >> 9u) & 7u;
  let normal = bitcast<f32>((magnitude << 22u) + (112u << 23u));
  let small = f32(magnitude) * 0x1p-15;
  return select(1.0, -1.0, bits > 0x7fffu) * select(normal, small, magnitude < 2u);
}

// Code j of the four in the low bits of a word, less a whole zero-point: it stands in the mantissa of an f32
// that is 2^23 without it, so that nothing is rounded.
fn whole(four: u32, j: u32, zero: f32) -> f32 {
  let bits = (four & (((1u << BITS) - 1u) << (BITS * j))) | 0x4b000000u;
  let step = bitcast<f32>((127u - BITS * j) << 23u);
  return fma(bitcast<f32>(bits), step, -(0x1p23 * step + zero));
}

fn whole4(four: u32, zero: f32) -> vec4f {
  return vec4f(whole(four, 0u, zero), whole(four, 1u, zero), whole(four, 2u, zero), whole(four, 3u, zero));
}

// The second e2m1 code of each byte where the first has been. Compilers make one selection of it.
fn others(word: u32) -> u32 {
  return ((word << 7u) & 0x80808080u) | ((word >> 3u) & 0x7f7f7f7fu);
}

// Decoded levels of the eight codes of a word, less the zero-point; of other scalings `zero` says nothing.
fn decode8(word: u32, zero: f32) -> Eight {
  if (DECODE == 0u) {
    let other = others(word);
    return Eight(
      vec4f(halves(word & 0x8e008e00u), halves(other & 0x8e008e00u)),
      vec4f(halves((word << 8u) & 0x8e008e00u), halves((other << 8u) & 0x8e008e00u)),
    );
  }
  if (DECODE == 1u) {
    return Eight(
      vec4f(halves(word & 0x8c008c00u), halves((word << 2u) & 0x8c008c00u)),
      vec4f(halves((word << 8u) & 0x8c008c00u), halves((word << 10u) & 0x8c008c00u)),
    );
  }
  if (WHOLE) { return Eight(whole4(word, zero), whole4(word >> (4u * BITS), zero)); }
  let v = table8(word);
  if (SCALING == 2u) { return Eight(v.lo - zero, v.hi - zero); }
  return v;
}

// Decoded level x scale, which of two scales by the level's sign; `factor` is still to come.
fn weigh(level: vec4f, scale: vec2f) -> vec4f {
  if (SCALING == 1u) { return level * select(vec4f(scale.x), vec4f(scale.y), bitcast<vec4i>(level) < vec4i(0)); }
  return level * scale.x;
}

// The weights of the eight codes of a word; `factor` is still to come.
fn weigh8(word: u32, scale: vec2f) -> Eight {
  let v = decode8(word, scale.y);
  return Eight(weigh(v.lo, scale), weigh(v.hi, scale));
}

// A sum of weighed levels over a row with what is still to be multiplied.
fn finished(row: u32, sum: f32) -> f32 {
  let whole = sum * codebook.factor.x * codebook.factor.y;
  if (SCALE_BITS < 16u) { return whole * row_factor(row); }
  return whole;
}
