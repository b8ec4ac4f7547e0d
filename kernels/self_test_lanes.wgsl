// self_test_lanes: where in its subgroup each lane of a workgroup is, to see that subgroups are dealt lanes
// in their order.
//
//   y  [WORKGROUP]  u32   how many lanes of the subgroup come before
//
// dispatch: one workgroup
// parts:    none
// spec:     expectedLanes() in lib/self_test.ts

enable subgroups;

override WORKGROUP: u32 = 256;

@group(0) @binding(0) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
  y[lane] = subgroupExclusiveAdd(1u);
}
