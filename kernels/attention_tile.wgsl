// attention_tile: softmax(q K^T / sqrt(HEAD_DIM)) V for many tokens, a head and a tile of tokens at a time.
//
//   qkv        [tokens, STRIDE]                   f32   turned queries at the start of each row
//   keys, values  [context, KV_HEADS, HEAD_DIM]   u32   as rotate.wgsl left them
//   y          [tokens, OUT_STRIDE]               f32   a row: HEADS x HEAD_DIM
//   step       tokens, position, -, 4             u32   a uniform: position is that of the first token; the
//                                                       fourth, unknown when the kernel is compiled, keeps
//                                                       compilers for CPUs from unrolling, unless UNROLL
//
// Token t sees positions up to its own, step.y + t, and with WINDOW > 0 only the last WINDOW of them.
// A query is SHARES lanes, each with every SHARES-th four of its dimensions; QUERIES = WORKGROUP / SHARES of
// them walk the positions together, eight at a time, whose keys and values are brought to workgroup
// memory as f32 once for all. Maximum and sum of a query run along (online softmax).
//
// dispatch: one workgroup for each head and QUERIES tokens, heads first, folded over x and y
// needs:    HEAD_DIM even; SHARES a power of two that divides WORKGROUP; EACH <= 32
// parts:    cache
// spec:     attention() in lib/attention_reference.ts

override STRIDE: u32;
override OUT_STRIDE: u32;
override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
override WINDOW: u32 = 0;
override WORKGROUP: u32 = 64;
override SHARES: u32 = 1;
override UNROLL: bool = false;

override QUERIES: u32 = WORKGROUP / SHARES;
override EACH: u32 = ((HEAD_DIM + 3u) / 4u + SHARES - 1u) / SHARES; // fours of a lane
override FOURS: u32 = EACH * SHARES;                                // of a head, zeros at its end
override TILE: u32 = 8u * FOURS;
override PARTS: u32 = 8u * WORKGROUP;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> step: vec4u;

var<workgroup> tile_k: array<vec4f, TILE>;  // [8, FOURS]
var<workgroup> tile_v: array<vec4f, TILE>;
var<workgroup> parts: array<f32, PARTS>;    // of scores, [8, WORKGROUP]

var<private> query: array<vec4f, 32>;
var<private> sums: array<vec4f, 32>;        // of values

// Keys and values of eight positions to workgroup memory; those beyond the last repeat it.
fn fill_tiles(start: u32, last: u32, kv_head: u32, lane: u32) {
  for (var i = lane; i < TILE; i += WORKGROUP) {
    let slot = (min(start + i / FOURS, last) * KV_HEADS + kv_head) * PAIRS;
    let pair = 2u * (i % FOURS);
    tile_k[i] = key_four(slot, pair);
    tile_v[i] = value_four(slot, pair);
  }
}

// A dimension of a query, 0 beyond the last.
fn dimension(at: u32, d: u32) -> f32 {
  if (d >= HEAD_DIM) { return 0.0; }
  return qkv[at + d];
}

// The lane's part of the score of position p of the eight.
fn score_part(p: u32, share: u32) -> f32 {
  var sum = vec4f(0.0);
  for (var j = 0u; j < EACH; j++) { sum += query[j] * tile_k[p * FOURS + j * SHARES + share]; }
  return dot(sum, vec4f(1.0));
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // the head and token that are mine; those beyond the last token repeat it
  let index = block.y * blocks.x + block.x;
  let head = index % HEADS;
  let first_token = index / HEADS * QUERIES;
  if (first_token >= step.x) { return; } // uniform over the workgroup
  let kv_head = head / (HEADS / KV_HEADS);
  let share = lane % SHARES;
  let token = min(first_token + lane / SHARES, step.x - 1u);
  let eight = select(2u * step.w, 8u, UNROLL);
  for (var j = 0u; j < EACH; j++) {
    let d = 4u * (j * SHARES + share);
    let at = token * STRIDE + head * HEAD_DIM;
    let four = vec4f(dimension(at, d), dimension(at, d + 1u), dimension(at, d + 2u), dimension(at, d + 3u));
    query[j] = four * inverseSqrt(f32(HEAD_DIM));
    sums[j] = vec4f(0.0);
  }

  // loop over the positions that any of the tile's tokens sees
  let own = step.y + token;
  let own_first = select(0u, own + 1u - min(WINDOW, own + 1u), WINDOW > 0u);
  let last = step.y + min(first_token + QUERIES, step.x) - 1u;
  let tile_own = step.y + first_token + 1u;
  let tile_first = select(0u, tile_own - min(WINDOW, tile_own), WINDOW > 0u);
  var largest = -3.0e38;
  var total = 0.0;
  for (var start = tile_first; start <= last; start += 8u) {
    workgroupBarrier();
    fill_tiles(start, last, kv_head, lane);
    workgroupBarrier();

    // score them
    var scores = array<f32, 8>();
    for (var p = 0u; p < eight; p++) { scores[p] = score_part(p, share); }
    if (SHARES > 1u) {
      for (var p = 0u; p < eight; p++) { parts[p * WORKGROUP + lane] = scores[p]; }
      workgroupBarrier();
      for (var p = 0u; p < eight; p++) {
        scores[p] = 0.0;
        for (var s = 0u; s < SHARES; s++) { scores[p] += parts[p * WORKGROUP + lane - share + s]; }
      }
    }

    // bring maximum and sum up to date
    var next = largest;
    for (var p = 0u; p < eight; p++) {
      if (start + p >= own_first && start + p <= own) { next = max(next, scores[p]); }
    }
    let shrink = exp(largest - next);
    largest = next;
    total *= shrink;
    for (var p = 0u; p < eight; p++) {
      let seen = start + p >= own_first && start + p <= own;
      scores[p] = select(0.0, exp(min(scores[p] - next, 0.0)), seen);
      total += scores[p];
    }

    // add up the values
    for (var j = 0u; j < EACH; j++) { sums[j] *= shrink; }
    for (var p = 0u; p < eight; p++) {
      let score = scores[p];
      for (var j = 0u; j < EACH; j++) { sums[j] += score * tile_v[p * FOURS + j * SHARES + share]; }
    }
  }

  // write
  if (first_token + lane / SHARES >= step.x) { return; }
  for (var j = 0u; j < EACH; j++) {
    let d = 4u * (j * SHARES + share);
    let four = sums[j] / total;
    for (var i = 0u; i < 4u; i++) {
      if (d + i < HEAD_DIM) { y[token * OUT_STRIDE + head * HEAD_DIM + d + i] = four[i]; }
    }
  }
}
