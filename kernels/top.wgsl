// top: the K largest logits, largest first; of equals the one of the lower id.
//
//   logits   [VOCAB]    f32
//   best     [K, 2]     u32   id, and the bits of its logit
//
// Round by round, each lane looks through its share for what comes next after the last winner, and
// the workgroup picks among the lanes.
//
// dispatch: one workgroup
// parts:    none
// spec:     top() in lib/pointwise_reference.ts

override VOCAB: u32;
override K: u32;
override WORKGROUP: u32 = 64;

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> best: array<u32>;

var<workgroup> values: array<f32, WORKGROUP>;
var<workgroup> ids: array<u32, WORKGROUP>;

// Whether (value, id) comes after the winner (top, top_id).
fn follows(value: f32, id: u32, top: f32, top_id: u32) -> bool {
  return value < top || (value == top && id > top_id);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
  var top = 3.4e38;
  var top_id = 0u;
  for (var round = 0u; round < K; round++) {
    // the best of my share that follows the last winner
    var value = -3.4e38;
    var id = 0xffffffffu;
    for (var i = lane; i < VOCAB; i += WORKGROUP) {
      let candidate = logits[i];
      if (follows(candidate, i, top, top_id) && (candidate > value || id == 0xffffffffu)) {
        value = candidate;
        id = i;
      }
    }
    values[lane] = value;
    ids[lane] = id;
    workgroupBarrier();

    // the best of all lanes, found by every lane
    top = values[0];
    top_id = ids[0];
    for (var i = 1u; i < WORKGROUP; i++) {
      if (values[i] > top || (values[i] == top && ids[i] < top_id)) {
        top = values[i];
        top_id = ids[i];
      }
    }
    workgroupBarrier();
    if (lane == 0u) {
      best[2u * round] = top_id;
      best[2u * round + 1u] = bitcast<u32>(top);
    }
  }
}
