// attention_quads: softmax(q K^T / sqrt(HEAD_DIM)) V for many tokens: for devices that are a CPU.
//
//   qkv        [tokens, STRIDE]                   f32   turned queries at the start of each row
//   wide_keys, wide_values  [context, KV_HEADS, FOURS]  f32   as widen_cache.wgsl left them: vec4f
//   y          [tokens, OUT_STRIDE]               f32   a row: HEADS x HEAD_DIM
//   step       tokens, position, -, -             u32   a uniform: position is that of the first token
//
// Token t sees positions up to its own, step.y + t, and with WINDOW > 0 only the last WINDOW of them.
// A lane is a token. As in parts/strips a load costs such devices much and a swap little: sixteen
// positions at a time, a lane loads the keys of four, one of each four, and its quad hands them round;
// then values likewise. So a position belongs to component c of a lane's scores that is its own place
// in the four ^ c. Maximum and sum run along (online softmax). No workgroup memory, no barrier.
//
// dispatch: one workgroup for each head and WORKGROUP tokens, heads first, folded over x and y
// needs:    HEAD_DIM at most 256; lanes in quads that take part together; WORKGROUP a multiple of 4
// parts:    swaps
// spec:     attention() in lib/attention_reference.ts

override STRIDE: u32;
override OUT_STRIDE: u32;
override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
override WINDOW: u32 = 0;
override WORKGROUP: u32 = 16;

override FOURS: u32 = (HEAD_DIM + 3u) / 4u;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> wide_keys: array<vec4f>;
@group(0) @binding(2) var<storage, read> wide_values: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> step: vec4u;

var<private> query: array<vec4f, 64>;
var<private> sums: array<vec4f, 64>;  // of values

// A dimension of a query, 0 beyond the last.
fn dimension(at: u32, d: u32) -> f32 {
  if (d >= HEAD_DIM) { return 0.0; }
  return qkv[at + d];
}

// Where the keys and values of this lane's four positions of the sixteen begin; those beyond the last
// repeat it.
fn slots_of(start: u32, last: u32, kv_head: u32) -> vec4u {
  return (min(vec4u(start, start + 4u, start + 8u, start + 12u), vec4u(last)) * KV_HEADS + kv_head) * FOURS;
}

// Scores of sixteen positions: four a column.
fn scores_of(slots: vec4u) -> mat4x4f {
  var scores = mat4x4f();
  for (var j = 0u; j < FOURS; j++) {
    let q = query[j];
    scores += mat4x4f(
      q * spread(wide_keys[slots.x + j]),
      q * spread(wide_keys[slots.y + j]),
      q * spread(wide_keys[slots.z + j]),
      q * spread(wide_keys[slots.w + j]),
    );
  }
  return scores;
}

// Whether the token sees each of four positions, of which this lane holds `mine`, that of the first.
fn seen(mine: u32, place: u32, own_first: u32, own: u32) -> vec4<bool> {
  let positions = mine - place + (vec4u(place) ^ vec4u(0u, 1u, 2u, 3u));
  return (positions >= vec4u(own_first)) & (positions <= vec4u(own));
}

fn largest_of(scores: mat4x4f) -> f32 {
  let four = max(max(scores[0], scores[1]), max(scores[2], scores[3]));
  return max(max(four.x, four.y), max(four.z, four.w));
}

// sums = sums * shrink + the values of sixteen positions by their weights
fn add_values(slots: vec4u, weights: mat4x4f, shrink: f32) {
  for (var j = 0u; j < FOURS; j++) {
    sums[j] = sums[j] * shrink
      + (spread(wide_values[slots.x + j]) * weights[0] + spread(wide_values[slots.y + j]) * weights[1])
      + (spread(wide_values[slots.z + j]) * weights[2] + spread(wide_values[slots.w + j]) * weights[3]);
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) in_subgroup: u32,
) {
  // the head and token that are mine; those beyond the last token repeat it
  let index = block.y * blocks.x + block.x;
  let head = index % HEADS;
  let first_token = index / HEADS * WORKGROUP;
  if (first_token >= step.x) { return; } // uniform over the workgroup
  let kv_head = head / (HEADS / KV_HEADS);
  let place = in_subgroup % 4u;
  let token = min(first_token + lane, step.x - 1u);
  let at = token * STRIDE + head * HEAD_DIM;
  for (var j = 0u; j < FOURS; j++) {
    let d = at + 4u * j;
    let four = vec4f(dimension(at, 4u * j), dimension(at, 4u * j + 1u), dimension(at, 4u * j + 2u), dimension(at, 4u * j + 3u));
    query[j] = four * inverseSqrt(f32(HEAD_DIM));
    sums[j] = vec4f(0.0);
  }

  // loop over the positions that any of the workgroup's tokens sees
  let own = step.y + token;
  let own_first = select(0u, own + 1u - min(WINDOW, own + 1u), WINDOW > 0u);
  let last = step.y + min(first_token + WORKGROUP, step.x) - 1u;
  let all_first = step.y + first_token + 1u;
  let begin = select(0u, all_first - min(WINDOW, all_first), WINDOW > 0u);
  var largest = -3.0e38;
  var total = vec4f(0.0);
  for (var start = begin; start <= last; start += 16u) {
    let slots = slots_of(start + place, last, kv_head);
    var scores = scores_of(slots);
    for (var i = 0u; i < 4u; i++) {
      scores[i] = select(vec4f(-3.0e38), scores[i], seen(start + 4u * i + place, place, own_first, own));
    }

    // bring maximum and sum up to date
    let next = max(largest, largest_of(scores));
    let shrink = exp(largest - next);
    largest = next;
    for (var i = 0u; i < 4u; i++) {
      let sees = seen(start + 4u * i + place, place, own_first, own);
      scores[i] = select(vec4f(0.0), exp(scores[i] - next), sees);
    }
    total = total * shrink + ((scores[0] + scores[1]) + (scores[2] + scores[3]));
    add_values(slots, scores, shrink);
  }

  // write
  if (first_token + lane >= step.x) { return; }
  let sum = dot(total, vec4f(1.0));
  for (var d = 0u; d < HEAD_DIM; d++) {
    y[token * OUT_STRIDE + head * HEAD_DIM + d] = sums[d / 4u][d % 4u] / sum;
  }
}
