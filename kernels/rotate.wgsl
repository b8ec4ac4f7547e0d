// rotate: queries and keys turned by their positions, keys and values put into the cache.
//
//   qkv        [tokens, STRIDE]                   f32   a row: HEADS queries, KV_HEADS keys, KV_HEADS values;
//                                                       queries are turned in place
//   q_gain, k_gain  [HEAD_DIM]                    f32   RMS norm of each head before it is turned; where QK_NORM
//   rotations  [context, ROTARY / 2] as vec2f     f32   cosine and sine of position x frequency
//   keys, values  [context, KV_HEADS, HEAD_DIM]   u32   pairs of f16, the even one low; f32 bits unless KV_F16
//   step       tokens, position, -, -             u32   a uniform: position is that of the first token
//
// Dimension d < ROTARY / 2 turns with d + ROTARY / 2 (the half-split of Hugging Face); those from ROTARY on stay.
//
// dispatch: one workgroup for each token and each of HEADS + 2 KV_HEADS heads, heads first
// needs:    HEAD_DIM even
// parts:    reduce
// spec:     rotate() in lib/attention_reference.ts

override STRIDE: u32;
override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
override ROTARY: u32;
override QK_NORM: bool = false;
override EPSILON: f32 = 1e-5;
override KV_F16: bool = true;

@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> q_gain: array<f32>;
@group(0) @binding(2) var<storage, read> k_gain: array<f32>;
@group(0) @binding(3) var<storage, read> rotations: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> keys: array<u32>;
@group(0) @binding(5) var<storage, read_write> values: array<u32>;
@group(0) @binding(6) var<uniform> step: vec4u;

var<workgroup> vector: array<f32, HEAD_DIM>;

// Dimension d of the head, turned.
fn turned(d: u32, position: u32) -> f32 {
  let half = ROTARY / 2u;
  if (d >= ROTARY) { return vector[d]; }
  let turn = rotations[position * half + d % half];
  if (d < half) { return vector[d] * turn.x - vector[d + half] * turn.y; }
  return vector[d] * turn.x + vector[d - half] * turn.y;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // the head that is mine
  let all = HEADS + 2u * KV_HEADS;
  let index = block.y * blocks.x + block.x;
  let head = index % all;
  let token = index / all;
  if (token >= step.x) { return; } // uniform over the workgroup
  let is_query = head < HEADS;
  let is_value = head >= HEADS + KV_HEADS;
  let at = token * STRIDE + head * HEAD_DIM;
  let position = step.y + token;

  // load it, with its norm
  var squares = 0.0;
  for (var d = lane; d < HEAD_DIM; d += WORKGROUP) {
    let value = qkv[at + d];
    vector[d] = value;
    squares += value * value;
  }
  if (QK_NORM && !is_value) {
    let sum = reduce(lane, vec4f(squares)).x;
    let scale = inverseSqrt(sum / f32(HEAD_DIM) + EPSILON);
    for (var d = lane; d < HEAD_DIM; d += WORKGROUP) {
      vector[d] = vector[d] * scale * select(k_gain[d], q_gain[d], is_query);
    }
  }
  workgroupBarrier();

  // turn it, by pairs of dimensions, and put it where it belongs
  for (var pair = lane; pair < HEAD_DIM / 2u; pair += WORKGROUP) {
    var two = vec2f(vector[2u * pair], vector[2u * pair + 1u]);
    if (!is_value) { two = vec2f(turned(2u * pair, position), turned(2u * pair + 1u, position)); }
    if (is_query) {
      qkv[at + 2u * pair] = two.x;
      qkv[at + 2u * pair + 1u] = two.y;
    } else {
      let kv_head = (head - HEADS) % KV_HEADS;
      let slot = (position * KV_HEADS + kv_head) * (HEAD_DIM / 2u) + pair;
      if (is_value) { store_value(slot, two); } else { store_key(slot, two); }
    }
  }
}

fn store_key(slot: u32, two: vec2f) {
  if (KV_F16) {
    keys[slot] = pack2x16float(two);
  } else {
    keys[2u * slot] = bitcast<u32>(two.x);
    keys[2u * slot + 1u] = bitcast<u32>(two.y);
  }
}

fn store_value(slot: u32, two: vec2f) {
  if (KV_F16) {
    values[slot] = pack2x16float(two);
  } else {
    values[2u * slot] = bitcast<u32>(two.x);
    values[2u * slot + 1u] = bitcast<u32>(two.y);
  }
}
