// levels: what the codes of a word stand for, each level held by a lane of eight and asked for by a shuffle.
//
// For devices that are a CPU with vectors of eight: there a look-up in memory is a load for each lane,
// and a shuffle of a whole subgroup a single instruction.
// needs:    parts/weights; subgroups of eight lanes; all functions by all lanes together
// gives:    load_levels(), first; magnitude() of a bit decode; table8() otherwise

enable subgroups;

// The levels that this lane holds: of codes below 8, which are magnitudes, and of the others.
var<private> held: vec2f;

fn load_levels() {
  let own = subgroupExclusiveAdd(1u) % 8u;
  held = vec2f(codebook.levels[own / 4u][own % 4u], codebook.levels[2u + own / 4u][own % 4u]);
  if (DECODE != 2u) { held *= 0x1p-14; }
}

// |level| 2^-14 of the magnitude bits that begin at a bit of a word.
fn magnitude(word: u32, bit: u32) -> f32 {
  return subgroupShuffle(held.x, (word >> bit) & select(3u, 7u, DECODE == 0u));
}

// Level of the code in the low bits of a word.
fn level(word: u32) -> f32 {
  let low = subgroupShuffle(held.x, word & 7u);
  if (BITS == 3u) { return low; }
  return select(low, subgroupShuffle(held.y, word & 7u), (word & 8u) != 0u);
}

fn level4(four: u32) -> vec4f {
  return vec4f(level(four), level(four >> BITS), level(four >> (2u * BITS)), level(four >> (3u * BITS)));
}

fn table8(word: u32) -> Eight {
  return Eight(level4(word), level4(word >> (4u * BITS)));
}
