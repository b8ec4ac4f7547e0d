// reduce: the sum of a value over the lanes of a workgroup, subgroups first.
//
// The first lane of each subgroup leaves its sum at its own place among zeros, so nothing is assumed
// of how lanes are dealt to subgroups; each subgroup then adds up all places once more.
// needs:    WORKGROUP a multiple of the subgroup width; to be called by all lanes together
// gives:    the sum, to every lane; the order of additions is fixed

enable subgroups;

override WORKGROUP: u32 = 64;

var<workgroup> partial: array<vec4f, WORKGROUP>;

fn reduce(lane: u32, value: vec4f) -> vec4f {
  let width = subgroupAdd(1u);
  let place = subgroupExclusiveAdd(1u);
  let sum = subgroupAdd(value);
  partial[lane] = select(vec4f(0.0), sum, place == 0u);
  workgroupBarrier();
  var total = vec4f(0.0);
  for (var i = place; i < WORKGROUP; i += width) { total += partial[i]; }
  workgroupBarrier(); // before the next call writes
  return subgroupAdd(total);
}
