// reduce: the sum of a value over the lanes of a workgroup, by a tree in workgroup memory.
//
// needs:    WORKGROUP a power of two; to be called by all lanes together
// gives:    the sum, to every lane; the order of additions is fixed

override WORKGROUP: u32 = 64;

var<workgroup> partial: array<vec4f, WORKGROUP>;

fn reduce(lane: u32, value: vec4f) -> vec4f {
  partial[lane] = value;
  for (var apart = WORKGROUP / 2u; apart > 0u; apart /= 2u) {
    workgroupBarrier();
    if (lane < apart) { partial[lane] += partial[lane + apart]; }
  }
  workgroupBarrier();
  let sum = partial[0];
  workgroupBarrier(); // before the next call writes
  return sum;
}
