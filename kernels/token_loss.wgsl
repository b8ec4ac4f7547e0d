// token_loss: -log softmax(logits)[target], a token at a time.
//
//   logits   [tokens, VOCAB]         f32
//   targets  [tokens]                u32
//   loss     [tokens]                f32   nats
//   step     tokens, position, -, -  u32   a uniform
//
// dispatch: one workgroup a token
// parts:    reduce
// spec:     tokenLoss() in lib/pointwise_reference.ts

override VOCAB: u32;

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
@group(0) @binding(3) var<uniform> step: vec4u;

var<workgroup> tops: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let token = block.y * blocks.x + block.x;
  if (token >= step.x) { return; } // uniform over the workgroup

  // the largest logit
  var top = -3.0e38;
  for (var i = lane; i < VOCAB; i += WORKGROUP) { top = max(top, logits[token * VOCAB + i]); }
  tops[lane] = top;
  workgroupBarrier();
  for (var i = 0u; i < WORKGROUP; i++) { top = max(top, tops[i]); }

  // the sum of exponentials, in two steps so that it does not round with VOCAB
  var sum = 0.0;
  var part = 0.0;
  var count = 0u;
  for (var i = lane; i < VOCAB; i += WORKGROUP) {
    part += exp(logits[token * VOCAB + i] - top);
    count++;
    if (count % 32u == 0u) {
      sum += part;
      part = 0.0;
    }
  }
  let all = reduce(lane, vec4f(sum + part)).x;
  if (lane == 0u) { loss[token] = log(all) + top - logits[token * VOCAB + targets[token]]; }
}
