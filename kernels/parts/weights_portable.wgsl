// weights: a packed matrix W [ROWS, COLS] as lib/pack.ts lays it out, and how its codes become levels.
//
//   codes     [ROWS, UNITS * BITS]         u32    a unit is 32 columns; seen twice, as words and by fours
//   scales    [ROWS, GROUPS] or [.., /2]   u32    a pair of f16 a group, or one f16 a group
//   codebook  levels [16] as [4] vec4f, and the power of two that finishes a sum, as two factors
//
// A level here is `decoded`: times 2^-14 for the bit decodes, which move a code's bits into an f16.
// codebook.factor makes up for it, and for the matrix's scaleExponent, once a sum.
// needs:    a part `table`: load_table() before decode8(), lookup() and magnitude_of() with it
// spec:     unpackRow() in lib/pack.ts, groupScales() in lib/quantizer.ts

override ROWS: u32;
override COLS: u32;
override GROUP: u32;                   // columns that share scales: a power of two, 2^31 for a whole row
override BITS: u32;                    // 3 or 4
override DECODE: u32;                  // 0 e2m1, 1 e2m0, 2 table
override SCALING: u32;                 // 0 one scale, 1 a scale a side, 2 scale and zero-point
override F16_SUBNORMALS: bool = true;  // whether unpack2x16float keeps them
override LOOKED_UP: bool = false;      // whether bit decodes, too, look magnitudes up

override UNITS: u32 = (COLS + 31u) / 32u;
override GROUPS: u32 = (COLS + GROUP - 1u) / GROUP;

struct Codebook {
  levels: array<vec4f, 4>,
  factor: vec2f,
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
  return scales_at(first_group(row) + group);
}

// Groups before those of a row: with one scale a row has an even number of them.
fn first_group(row: u32) -> u32 {
  return row * select((GROUPS + 1u) & ~1u, GROUPS, SCALING != 0u);
}

// The same as load_scales, groups counted through all rows.
fn scales_at(group: u32) -> vec2f {
  if (SCALING != 0u) { return unpack2x16float(scales[group]); }
  let pair = unpack2x16float(scales[group / 2u]);
  return vec2f(select(pair.x, pair.y, (group & 1u) == 1u));
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

// The decoded level whose magnitude bits are at bit `low` of a word and whose sign is at bit `sign`.
fn looked_up(word: u32, low: u32, sign: u32) -> f32 {
  return bitcast<f32>(bitcast<u32>(magnitude_of(word >> low)) | ((word << (31u - sign)) & 0x80000000u));
}

// Decoded levels of the eight codes of a word.
fn decode8(word: u32) -> Eight {
  if (LOOKED_UP && DECODE == 0u) {
    return Eight(
      vec4f(looked_up(word, 9u, 15u), looked_up(word, 25u, 31u), looked_up(word, 6u, 12u), looked_up(word, 22u, 28u)),
      vec4f(looked_up(word, 3u, 14u), looked_up(word, 19u, 30u), looked_up(word, 0u, 13u), looked_up(word, 16u, 29u)),
    );
  }
  if (LOOKED_UP && DECODE == 1u) {
    return Eight(
      vec4f(looked_up(word, 10u, 15u), looked_up(word, 26u, 31u), looked_up(word, 8u, 13u), looked_up(word, 24u, 29u)),
      vec4f(looked_up(word, 2u, 7u), looked_up(word, 18u, 23u), looked_up(word, 0u, 5u), looked_up(word, 16u, 21u)),
    );
  }
  if (DECODE == 0u) {
    return Eight(
      vec4f(halves(word & 0x8e008e00u), halves((word << 3u) & 0x8e008e00u)),
      vec4f(
        halves(((word << 6u) & 0x0e000e00u) | ((word << 1u) & 0x80008000u)),
        halves(((word << 9u) & 0x0e000e00u) | ((word << 2u) & 0x80008000u)),
      ),
    );
  }
  if (DECODE == 1u) {
    return Eight(
      vec4f(halves(word & 0x8c008c00u), halves((word << 2u) & 0x8c008c00u)),
      vec4f(halves((word << 8u) & 0x8c008c00u), halves((word << 10u) & 0x8c008c00u)),
    );
  }
  return Eight(
    vec4f(lookup(word, 0u), lookup(word, 1u)),
    vec4f(lookup(word, 2u), lookup(word, 3u)),
  );
}

// Decoded level x scale, which of two scales by the level's sign; `factor` is still to come.
fn weigh(level: vec4f, scale: vec2f) -> vec4f {
  if (SCALING == 1u) { return level * select(vec4f(scale.y), vec4f(scale.x), level >= vec4f(0.0)); }
  if (SCALING == 2u) { return (level - scale.y) * scale.x; }
  return level * scale.x;
}
