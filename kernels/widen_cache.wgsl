// widen_cache: keys and values of a layer as f32, for attention_quads: a prompt reads each many times.
//
//   keys, values            [context, KV_HEADS, HEAD_DIM]   u32   as rotate.wgsl left them
//   wide_keys, wide_values  [context, KV_HEADS, FOURS]      f32   as vec4f, zeros beyond HEAD_DIM
//   step       tokens, position, -, -                       u32   a uniform: position is that of the first token
//
// Only positions that one of the tokens sees are done: to its own, with WINDOW > 0 the last WINDOW.
//
// dispatch: as many workgroups as pay, along x: lanes go round until all is done
// needs:    HEAD_DIM even
// parts:    cache
// spec:     widenCache() in lib/attention_reference.ts

override KV_HEADS: u32;
override HEAD_DIM: u32;
override WINDOW: u32 = 0;
override WORKGROUP: u32 = 16;

override FOURS: u32 = (HEAD_DIM + 3u) / 4u;

@group(0) @binding(0) var<storage, read> keys: array<u32>;
@group(0) @binding(1) var<storage, read> values: array<u32>;
@group(0) @binding(2) var<storage, read_write> wide_keys: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> wide_values: array<vec4f>;
@group(0) @binding(4) var<uniform> step: vec4u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) blocks: vec3u) {
  let seen = step.y + 1u;
  let first = select(0u, seen - min(WINDOW, seen), WINDOW > 0u);
  let end = (step.y + step.x) * KV_HEADS * FOURS;
  for (var i = first * KV_HEADS * FOURS + id.x; i < end; i += WORKGROUP * blocks.x) {
    let slot = i / FOURS * PAIRS;
    let pair = 2u * (i % FOURS);
    wide_keys[i] = key_four(slot, pair);
    wide_values[i] = value_four(slot, pair);
  }
}
