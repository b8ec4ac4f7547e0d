// swaps: what the lanes of a quad hold, given to each of them without a load.
//
// needs:    lanes in quads that take part together
// gives:    spread(): column c is what lane (own place ^ c) of the quad holds

enable subgroups;

fn spread(mine: vec4f) -> mat4x4f {
  return mat4x4f(mine, quadSwapX(mine), quadSwapY(mine), quadSwapDiagonal(mine));
}
