// fold: how many lanes side by side add up what they hold before they leave it: by shuffles, up to a subgroup.
//
// needs:    FOLD a power of two, above 1 only where subgroups have that many lanes or more and those lie side
//           by side (self_test_lanes.wgsl); to be called by all lanes together
// gives:    FOLD; fold() the sum over FOLD lanes, to each of them

enable subgroups;

override FOLD: u32 = 1;

fn fold(sum: f32) -> f32 {
  var folded = sum;
  if (FOLD > 1u) { folded += subgroupShuffleXor(folded, 1u); }
  if (FOLD > 2u) { folded += subgroupShuffleXor(folded, 2u); }
  if (FOLD > 4u) { folded += subgroupShuffleXor(folded, 4u); }
  if (FOLD > 8u) { folded += subgroupShuffleXor(folded, 8u); }
  if (FOLD > 16u) { folded += subgroupShuffleXor(folded, 16u); }
  if (FOLD > 32u) { folded += subgroupShuffleXor(folded, 32u); }
  return folded;
}
