// fold: how many lanes side by side add up what they hold before they leave it: here each for itself.
//
// needs:    nothing
// gives:    FOLD; fold() a lane's sum

const FOLD: u32 = 1u;

fn fold(sum: f32) -> f32 {
  return sum;
}
