// half_table: levels of the codes of a table as f16, in workgroup memory, for kernels that multiply f16.
//
// The table is of pairs, as two neighbouring codes are looked up at once: half the memory of part `table`.
// needs:    parts/weights; load_table() by all lanes together before anything else
// gives:    levels8(): levels of a word as f16, and their sizes; level_pair(): of two codes;
//           table8() for parts/weights; anywhere

enable f16;

override COPIES: u32 = 1;  // of the table, so that fewer lanes meet in a bank: a power of two, 16 at most

override PAIRS: u32 = select(1u, COPIES << (2u * BITS), DECODE == 2u);
var<workgroup> table: array<u32, PAIRS>;
// Which of the copies is this lane's.
var<private> copy: u32;

// Writes the table.
fn load_table(lane: u32, lanes: u32) {
  if (DECODE == 2u) {
    copy = lane % COPIES;
    for (var i = lane; i < COPIES << (2u * BITS); i += lanes) {
      let pair = i / COPIES;
      table[i] = pack2x16float(vec2f(table_level(extractBits(pair, 0u, BITS)), table_level(extractBits(pair, BITS, BITS))));
    }
  }
  workgroupBarrier();
}

fn table_level(code: u32) -> f32 {
  return codebook.levels[code / 4u][code % 4u];
}

// Pair k of a word.
fn level_pair(word: u32, k: u32) -> u32 {
  return table[extractBits(word, 2u * BITS * k, 2u * BITS) * COPIES + copy];
}

// Levels of the eight codes of a word, two f16 a component, and their sizes.
struct Levels {
  signed: vec4u,
  size: vec4u,
}

fn levels8(word: u32, zero: f32) -> Levels {
  if (DECODE == 0u) {
    let other = others(word);
    let moved = vec4u(word, other, word << 8u, other << 8u);
    return Levels(moved & vec4u(0x8e008e00u), moved & vec4u(0x0e000e00u));
  }
  if (DECODE == 1u) {
    let moved = vec4u(word, word << 2u, word << 8u, word << 10u);
    return Levels(moved & vec4u(0x8c008c00u), moved & vec4u(0x0c000c00u));
  }
  var signed = vec4u(level_pair(word, 0u), level_pair(word, 1u), level_pair(word, 2u), level_pair(word, 3u));
  if (SCALING == 2u) {
    let zeros = vec2h(f16(zero));
    for (var i = 0u; i < 4u; i++) { signed[i] = bitcast<u32>(bitcast<vec2h>(signed[i]) - zeros); }
  }
  return Levels(signed, signed & vec4u(0x7fff7fffu));
}

fn table8(word: u32) -> Eight {
  let signed = levels8(word, 0.0).signed;
  return Eight(
    vec4f(unpack2x16float(signed.x), unpack2x16float(signed.y)),
    vec4f(unpack2x16float(signed.z), unpack2x16float(signed.w)),
  );
}
