// self_test_lanes: whether lanes that a shuffle by XOR brings together lie side by side in a workgroup, which
// WebGPU does not promise.
//
//   y  [WORKGROUP]  u32   lane + 1, and more where a lane met another than it should
//
// WIDTH, a power of two up to 64, is how many lanes side by side should meet: no more than a subgroup has.
//
// dispatch: one workgroup
// parts:    none
// spec:     expectedLanes() in lib/self_test.ts

enable subgroups;

override WORKGROUP: u32 = 256;
override WIDTH: u32 = 1;

@group(0) @binding(0) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
  var odd = 0u;
  if (WIDTH > 1u) { odd |= subgroupShuffleXor(lane, 1u) ^ lane ^ 1u; }
  if (WIDTH > 2u) { odd |= subgroupShuffleXor(lane, 2u) ^ lane ^ 2u; }
  if (WIDTH > 4u) { odd |= subgroupShuffleXor(lane, 4u) ^ lane ^ 4u; }
  if (WIDTH > 8u) { odd |= subgroupShuffleXor(lane, 8u) ^ lane ^ 8u; }
  if (WIDTH > 16u) { odd |= subgroupShuffleXor(lane, 16u) ^ lane ^ 16u; }
  if (WIDTH > 32u) { odd |= subgroupShuffleXor(lane, 32u) ^ lane ^ 32u; }
  y[lane] = lane + 1u + (odd << 16u);
}
