/** Claims about lib/timing.ts on each device. */
import assert from "node:assert/strict";
import { openDevice } from "../lib/device.ts";
import { type Dispatch, empty, type Gpu, joinKernel, prepare } from "../lib/launch.ts";
import { createTimer } from "../lib/timing.ts";
import { gpuTest } from "./gpu_devices.ts";
import { testUnless } from "./test_unless.ts";

/** Work in proportion to STEPS. */
const WORK = joinKernel("work", [`
override STEPS: u32;
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(16) fn main(@builtin(global_invocation_id) id: vec3u) {
  var state = id.x + y[id.x % 1024u];
  for (var i = 0u; i < STEPS; i++) { state = state * 1664525u + 1013904223u; }
  y[id.x % 1024u] = state;
}`]);

function work(gpu: Gpu, workgroups: number): Promise<Dispatch> {
  const buffers = [empty(gpu, 4096)];
  return prepare(gpu, WORK, { constants: { STEPS: 20_000 }, buffers, workgroups });
}

gpuTest(
  "four times the work takes about four times as long, by whichever clock",
  async (gpu, device) => {
    const [one, four] = [await work(gpu, 512), await work(gpu, 2048)];
    const timer = await createTimer(device, [one]);
    const again = Math.ceil(timer.leastMs / await timer.time([one]));
    const least = async (dispatch: Dispatch) => {
      const times = [];
      for (let i = 0; i < 5; i++) times.push(await timer.time(new Array(again).fill(dispatch)));
      return Math.min(...times);
    };
    const ratio = await least(four) / await least(one);
    assert.ok(ratio > 2 && ratio < 8, `${ratio} times as long by the clock "${timer.clock}"`);
    timer.free();
  },
);

gpuTest("nothing takes next to no time, and dispatches add up", async (gpu, device) => {
  const one = await work(gpu, 512);
  const timer = await createTimer(device, [one]);
  assert.ok(await timer.time([]) < timer.leastMs);
  const [once, thrice] = [await timer.time([one]), await timer.time([one, one, one])];
  assert.ok(once > 0 && thrice > once, `${once} and ${thrice}`);
  timer.free();
});

gpuTest("a closed device is not timed", async (_gpu, device) => {
  const own = await openDevice({
    binding: device.binding,
    embedded: device.binding === "software",
  });
  const one = await work(own.gpu!, 1);
  const timer = await createTimer(own, [one]);
  own.close();
  await assert.rejects(timer.time([one]), /^Error: The device is closed$/);
});

const fast = await openDevice({ binding: "webgpu", fast: true }).catch((error) => error as Error);

testUnless(
  fast instanceof Error ? fast.message : null,
  "a fast device has a fine clock",
  async () => {
    const device = fast as Exclude<typeof fast, Error>;
    const timer = await createTimer(device, [await work(device.gpu!, 512)]);
    if (timer.clock === "gpu") assert.ok(timer.leastMs <= 4, `${timer.leastMs} ms`);
    timer.free();
  },
);
