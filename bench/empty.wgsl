// empty: one word written by one lane: what a dispatch costs that does nothing.
//
//   y     [1]    u32
//
// dispatch: one workgroup
// parts:    none

@group(0) @binding(0) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(1)
fn main() { y[0] = 1u; }
