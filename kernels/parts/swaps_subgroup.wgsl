// swaps: what the lanes of a quad or an octet hold, given to each of them without a load.
//
// needs:    lanes in quads that take part together; for opposite() in octets
// gives:    spread(): column c is what lane (own place ^ c) of the quad holds; opposite(): what the lane
//           four places on holds, or back

enable subgroups;

fn spread(mine: vec4f) -> mat4x4f {
  return mat4x4f(mine, quadSwapX(mine), quadSwapY(mine), quadSwapDiagonal(mine));
}

fn opposite(mine: vec4f) -> vec4f {
  return subgroupShuffleXor(mine, 4u);
}
