// half_table: levels of the codes of a table as f16, in workgroup memory, for kernels that multiply f16.
//
// The table is of pairs, as two neighbouring codes are looked up at once: half the memory of part `table`.
// needs:    parts/weights; load_table() by all lanes together before anything else
// gives:    level_pair(): levels of two codes as f16; lookup(): the same as f32; anywhere

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

fn magnitude_of(word: u32) -> f32 {
  return table_level(word & select(3u, 7u, DECODE == 0u)) * 0x1p-14;
}

fn lookup(word: u32, k: u32) -> vec2f {
  return unpack2x16float(level_pair(word, k));
}
