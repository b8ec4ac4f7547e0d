// copy: y = x, 16 bytes a lane and step: what memory can do.
//
//   x     [FOURS] as vec4u
//   y     [FOURS] as vec4u
//
// dispatch: one workgroup for 16 WORKGROUP fours, folded over x and y
// parts:    none

override FOURS: u32;
override WORKGROUP: u32 = 64;

@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4u>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) block: vec3u,
  @builtin(num_workgroups) blocks: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let first = (block.y * blocks.x + block.x) * 16u * WORKGROUP + lane;
  for (var i = 0u; i < 16u; i++) {
    let at = first + i * WORKGROUP;
    if (at < FOURS) { y[at] = x[at]; }
  }
}
