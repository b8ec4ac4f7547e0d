// byte_table: levels of codes as bytes, for kernels that multiply four bytes at once.
//
// Levels times STEPS (of FP4: 2) are whole numbers, which bytes hold exactly. Two codes are looked up at
// once, as bytes (p, p, n, n): levels of at least 0 and those below, 0 where it is the other; with other
// scalings (level, level, 0, 0). One of two tables has them the other way round, so that of two lookups a
// single instruction makes four bytes to multiply:
//
//   e2m1   by bytes
//   e2m0   by bytes, but for bit 6; bit 4, which says nothing either, spreads lanes over more banks
//   table  by BITS + BITS bits
//
// Four bytes are columns 0, 2, 4, 6 of a word or 1, 3, 5, 7; IN_ORDER they are 0 .. 3 or 4 .. 7. RUN, codes
// are whole numbers themselves, which needs no table.
// needs:    parts/weights; load_table() by all lanes together before bytes8()
// gives:    bytes8(): levels of a word; step_factor(): of their unit; table8() for parts/weights

override STEPS: f32 = 1.0; // bytes a unit of level: a power of two
override RUN: bool = false; // whether level k of a table of 16 is level 0 + k

override IN_ORDER: bool = DECODE == 2u && !RUN;
override ENTRIES: u32 = select(select(1u << (2u * BITS), 1u, RUN), 256u, DECODE != 2u);
// Bits of an index, two places up.
override INDEX: u32 = select(4u * ENTRIES - 4u, 0x2fcu, DECODE == 1u);
var<workgroup> firsts: array<u32, ENTRIES>;
var<workgroup> seconds: array<u32, ENTRIES>;

fn table_level(code: u32) -> f32 {
  return codebook.levels[code / 4u][code % 4u];
}

fn table8(word: u32) -> Eight {
  var v: Eight;
  for (var j = 0u; j < 4u; j++) {
    v.lo[j] = table_level(extractBits(word, BITS * j, BITS));
    v.hi[j] = table_level(extractBits(word, BITS * (j + 4u), BITS));
  }
  return v;
}

// Bytes of two codes.
fn entry(a: u32, b: u32) -> u32 {
  let levels = vec2i(vec2f(table_level(a), table_level(b)) * STEPS);
  if (SCALING != 1u) { return pack4xI8(vec4i(levels, 0, 0)); }
  return pack4xI8(vec4i(max(levels, vec2i(0)), min(levels, vec2i(0))));
}

fn turned(bytes: u32) -> u32 {
  return (bytes << 16u) | (bytes >> 16u);
}

// Writes the tables.
fn load_table(lane: u32, lanes: u32) {
  for (var i = lane; i < ENTRIES; i += lanes) {
    var codes = vec2u(extractBits(i, 0u, BITS), extractBits(i, BITS, BITS));
    if (DECODE == 0u) { codes = vec2u(extractBits(i, 1u, 3u) | ((i >> 4u) & 8u), extractBits(i, 4u, 3u) | ((i & 1u) << 3u)); }
    if (DECODE == 1u) { codes = vec2u(extractBits(i, 2u, 2u) | ((i >> 5u) & 4u), (i & 3u) | ((i >> 3u) & 4u)); }
    let pair = entry(codes.x, codes.y);
    firsts[i] = pair;
    seconds[i] = turned(pair);
  }
  workgroupBarrier();
}

// Looked up by bits 2 and up, so that a shift brings an index and its place in bytes at once.
fn first_at(bits: u32) -> u32 {
  return firsts[(bits & INDEX) >> 2u];
}

fn second_at(bits: u32) -> u32 {
  return seconds[(bits & INDEX) >> 2u];
}

// Levels of the eight codes of a word times STEPS, four a component: of at least 0, or all; and those
// below 0, halves exchanged.
struct Bytes {
  above: vec2u,
  below: vec2u,
}

fn bytes8(word: u32) -> Bytes {
  if (RUN) { return Bytes(vec2u(word, word >> 4u) & vec2u(0x0f0f0f0fu), vec2u(0u)); }
  var first: vec2u;
  var second: vec2u;
  if (DECODE != 2u) {
    first = vec2u(first_at(word >> 6u), first_at(word >> 22u));
    second = vec2u(second_at(word << 2u), second_at(word >> 14u));
  } else {
    first = vec2u(first_at(word << 2u), first_at(word >> (4u * BITS - 2u)));
    second = vec2u(second_at(word >> (2u * BITS - 2u)), second_at(word >> (6u * BITS - 2u)));
  }
  let low = vec2u(0xffffu);
  return Bytes((first & low) | (second & ~low), (second & low) | (first & ~low));
}

// What a sum of levels times STEPS is to be multiplied by, where codebook.factor comes on top.
fn step_factor() -> f32 {
  return select(0x1p-14, 1.0, DECODE == 2u) / STEPS;
}
