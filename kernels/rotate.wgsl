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

// A dimension of a query or key head, after its norm.
fn normed(at: u32, d: u32, is_query: bool, scale: f32) -> f32 {
  if (!QK_NORM) { return qkv[at + d]; }
  return qkv[at + d] * scale * select(k_gain[d], q_gain[d], is_query);
}

// Turns a query in place; a lane has both dimensions that turn together.
fn turn_query(at: u32, position: u32, scale: f32, lane: u32) {
  let half = ROTARY / 2u;
  for (var d = lane; d < half; d += WORKGROUP) {
    let turn = rotations[position * half + d];
    let a = normed(at, d, true, scale);
    let b = normed(at, d + half, true, scale);
    qkv[at + d] = a * turn.x - b * turn.y;
    qkv[at + d + half] = b * turn.x + a * turn.y;
  }
  if (QK_NORM) {
    for (var d = ROTARY + lane; d < HEAD_DIM; d += WORKGROUP) { qkv[at + d] = normed(at, d, true, scale); }
  }
}

// Dimension d of a key, turned.
fn turned_key(at: u32, d: u32, position: u32, scale: f32) -> f32 {
  let half = ROTARY / 2u;
  let x = normed(at, d, false, scale);
  if (d >= ROTARY) { return x; }
  let turn = rotations[position * half + d % half];
  if (d < half) { return x * turn.x - normed(at, d + half, false, scale) * turn.y; }
  return x * turn.x + normed(at, d - half, false, scale) * turn.y;
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

  // what its norm makes of it
  var scale = 1.0;
  if (QK_NORM) {
    var squares = 0.0;
    for (var d = lane; d < HEAD_DIM; d += WORKGROUP) { squares += qkv[at + d] * qkv[at + d]; }
    scale = inverseSqrt(reduce(lane, vec4f(squares)).x / f32(HEAD_DIM) + EPSILON);
  }

  // turn it and put it where it belongs, keys and values by pairs of dimensions
  if (is_query) {
    turn_query(at, position, scale, lane);
    return;
  }
  let kv_head = (head - HEADS) % KV_HEADS;
  for (var pair = lane; pair < HEAD_DIM / 2u; pair += WORKGROUP) {
    let d = 2u * pair;
    let slot = (position * KV_HEADS + kv_head) * (HEAD_DIM / 2u) + pair;
    if (is_value) {
      store_value(slot, vec2f(qkv[at + d], qkv[at + d + 1u]));
    } else {
      store_key(slot, vec2f(turned_key(at, d, position, scale), turned_key(at, d + 1u, position, scale)));
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
