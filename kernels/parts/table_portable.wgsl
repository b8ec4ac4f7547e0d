// table: levels of the codes of a table, in workgroup memory, where each lane may look up another one.
//
// The table is of pairs, as two neighbouring codes are looked up at once; or, SINGLY, of single levels:
// twice the lookups, but all 16 levels lie in banks of their own, so that lanes do not wait for one another.
// needs:    parts/weights; load_table() by all lanes together before table8()
// gives:    table8(), anywhere

override COPIES: u32 = 1;  // of the table, so that fewer lanes meet in a bank: a power of two, 16 at most

override SINGLY: bool = false;

override PAIRS: u32 = select(1u, COPIES << (2u * BITS), LOOKED_UP && !SINGLY);
var<workgroup> table: array<vec2f, PAIRS>;
override LEVELS: u32 = select(1u, 16u, LOOKED_UP && SINGLY);
var<workgroup> singles: array<f32, LEVELS>;
// Which of the copies is this lane's.
var<private> copy: u32;

// Writes the table.
fn load_table(lane: u32, lanes: u32) {
  if (LOOKED_UP && SINGLY) {
    for (var i = lane; i < 16u; i += lanes) { singles[i] = table_level(i); }
  }
  if (LOOKED_UP && !SINGLY) {
    copy = lane % COPIES;
    for (var i = lane; i < COPIES << (2u * BITS); i += lanes) {
      table[i] = vec2f(table_level(extractBits(i / COPIES, 0u, BITS)), table_level(extractBits(i / COPIES, BITS, BITS)));
    }
  }
  workgroupBarrier();
}

fn table_level(code: u32) -> f32 {
  return codebook.levels[code / 4u][code % 4u];
}

// Pair k of a word.
fn lookup(word: u32, k: u32) -> vec2f {
  if (SINGLY) {
    return vec2f(
      singles[extractBits(word, 2u * BITS * k, BITS)],
      singles[extractBits(word, 2u * BITS * k + BITS, BITS)],
    );
  }
  return table[extractBits(word, 2u * BITS * k, 2u * BITS) * COPIES + copy];
}

fn table8(word: u32) -> Eight {
  return Eight(vec4f(lookup(word, 0u), lookup(word, 1u)), vec4f(lookup(word, 2u), lookup(word, 3u)));
}
