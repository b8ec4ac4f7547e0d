// cache: keys and values of the positions so far, in f16 or f32, as rotate.wgsl left them.
//
// A pair is two neighbouring dimensions; pair p of a head's PAIRS lies at slot + p, where
// slot = (position * KV_HEADS + kv_head) * PAIRS.
// needs:    of the kernel HEAD_DIM, even; keys and values bound, [context, KV_HEADS, HEAD_DIM] as u32
// gives:    PAIRS; key_pair(), value_pair(); key_four(), value_four(): two pairs, zeros beyond the head

override KV_F16: bool = true;

override PAIRS: u32 = HEAD_DIM / 2u;

fn key_pair(at: u32) -> vec2f {
  if (KV_F16) { return unpack2x16float(keys[at]); }
  return bitcast<vec2f>(vec2u(keys[2u * at], keys[2u * at + 1u]));
}

fn value_pair(at: u32) -> vec2f {
  if (KV_F16) { return unpack2x16float(values[at]); }
  return bitcast<vec2f>(vec2u(values[2u * at], values[2u * at + 1u]));
}

fn key_four(slot: u32, pair: u32) -> vec4f {
  var four = vec4f(0.0);
  if (pair < PAIRS) { four = vec4f(key_pair(slot + pair), 0.0, 0.0); }
  if (pair + 1u < PAIRS) { four = vec4f(four.xy, key_pair(slot + pair + 1u)); }
  return four;
}

fn value_four(slot: u32, pair: u32) -> vec4f {
  var four = vec4f(0.0);
  if (pair < PAIRS) { four = vec4f(value_pair(slot + pair), 0.0, 0.0); }
  if (pair + 1u < PAIRS) { four = vec4f(four.xy, value_pair(slot + pair + 1u)); }
  return four;
}
