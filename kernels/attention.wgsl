// attention: softmax(q K^T / sqrt(HEAD_DIM)) V, a head and a token at a time, streaming over positions.
//
//   qkv        [tokens, STRIDE]                   f32   turned queries at the start of each row
//   keys, values  [context, KV_HEADS, HEAD_DIM]   u32   as rotate.wgsl left them
//   y          [tokens, OUT_STRIDE]               f32   a row: HEADS x HEAD_DIM
//   step       tokens, position, HEAD_DIM / 2, -  u32   a uniform: position is that of the first token;
//                                                       the third, unknown when the kernel is compiled,
//                                                       keeps compilers from unrolling the scores
//
// Token t sees positions up to its own, step.y + t, and with WINDOW > 0 only the last WINDOW of them.
// Positions are taken WORKGROUP at a time: a lane scores one of them, the running maximum and
// sum are brought up to date (online softmax), then lanes take pairs of dimensions of V.
//
// dispatch: one workgroup for each token and head, heads first
// needs:    HEAD_DIM even
// parts:    cache
// spec:     attention() in lib/attention_reference.ts

override STRIDE: u32;
override OUT_STRIDE: u32;
override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
override WINDOW: u32 = 0;
override WORKGROUP: u32 = 64;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> step: vec4u;

var<workgroup> query: array<vec2f, PAIRS>;
var<workgroup> sums: array<vec2f, PAIRS>;       // of values, by their lane
var<workgroup> scores: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // the head and token that are mine
  let index = block.y * blocks.x + block.x;
  let head = index % HEADS;
  let token = index / HEADS;
  if (token >= step.x) { return; } // uniform over the workgroup
  let kv_head = head / (HEADS / KV_HEADS);
  let last = step.y + token;
  let first = select(0u, last + 1u - min(WINDOW, last + 1u), WINDOW > 0u);
  for (var pair = lane; pair < PAIRS; pair += WORKGROUP) {
    let at = token * STRIDE + head * HEAD_DIM + 2u * pair;
    query[pair] = vec2f(qkv[at], qkv[at + 1u]) * inverseSqrt(f32(HEAD_DIM));
    sums[pair] = vec2f(0.0);
  }
  workgroupBarrier();

  var largest = -3.0e38;
  var total = 0.0;
  for (var start = first; start <= last; start += WORKGROUP) {
    // score a position a lane
    let position = start + lane;
    var score = -3.0e38;
    if (position <= last) {
      let slot = (position * KV_HEADS + kv_head) * PAIRS;
      var dots = vec2f(0.0);
      for (var pair = 0u; pair < step.z; pair++) { dots += key_pair(slot + pair) * query[pair]; }
      score = dots.x + dots.y;
    }
    scores[lane] = score;
    workgroupBarrier();

    // bring maximum and sum up to date, every lane for itself
    let count = min(WORKGROUP, last + 1u - start);
    var next = largest;
    for (var i = 0u; i < count; i++) { next = max(next, scores[i]); }
    let shrink = exp(largest - next);
    largest = next;
    workgroupBarrier();
    scores[lane] = select(0.0, exp(score - next), position <= last);
    workgroupBarrier();
    total *= shrink;
    for (var i = 0u; i < count; i++) { total += scores[i]; }

    // add up the values
    for (var pair = lane; pair < PAIRS; pair += WORKGROUP) {
      var sum = sums[pair] * shrink;
      for (var i = 0u; i < count; i++) {
        sum += scores[i] * value_pair(((start + i) * KV_HEADS + kv_head) * PAIRS + pair);
      }
      sums[pair] = sum;
    }
    workgroupBarrier();
  }

  // write
  for (var pair = lane; pair < PAIRS; pair += WORKGROUP) {
    let at = token * OUT_STRIDE + head * HEAD_DIM + 2u * pair;
    y[at] = sums[pair].x / total;
    y[at + 1u] = sums[pair].y / total;
  }
}
