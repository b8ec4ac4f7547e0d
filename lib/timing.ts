/**
 * How long dispatches take: by the GPU's own clock where that can be believed, else by ours.
 *
 *   gpu    timestamps at both ends of the pass, to the nanosecond or, where Dawn rounds them, to
 *          65,536 ns
 *   wall   from submission until the device says that all is done
 *
 * Backends without a clock give zeros, others give ticks of a length that they do not tell. So the
 * GPU's clock is first held against ours on work that the caller hands in, and only one that tells
 * nearly the same time is used. A time below `leastMs` is told badly by either clock: the launch, or
 * the rounding, is then more than about 2 % of it. Enqueue more of the same.
 *
 * @module
 */

import { setTimeout } from "node:timers";
import type { Device } from "./device.ts";
import { rejectIfLost } from "./gpu.ts";
import { allocate, type Dispatch, download, type Gpu, submit } from "./launch.ts";

/** A clock for dispatches. */
export interface Timer {
  readonly clock: "gpu" | "wall";
  /** The shortest time worth telling, ms. */
  readonly leastMs: number;
  /**
   * Runs dispatches in order; ms from the begin of the first to the end of the last. By the wall clock
   * it rests for `restMs` before it asks for the end: asking takes a core from a GPU that is a CPU. Of
   * what is known to take longer, then, {@linkcode RESTED} is a good share.
   */
  time(dispatches: readonly Dispatch[], restMs?: number): Promise<number>;
  free(): void;
}

/**
 * Share of the shortest known time that may be rested through: no run is that much shorter at once.
 * `waitPatiently()` rests longer, and now and then too long, which would be told as time.
 */
export const RESTED = 0.7;

const QUERY_RESOLVE = 0x0200;
/** Steps of Dawn's timestamps, unless they are told to be fine. */
const COARSE_NS = 65_536;
/** A pass costs an H100 some 30 us beyond its dispatches. */
const LEAST_GPU_MS = 4;
const ROUNDINGS = 50;
const LAUNCHES = 50;
const LEAST_WALL_MS = 20;
const MOST_PROBES = 1000;
/** GPU time as a share of wall time that is believed. */
const BELIEVED = { least: 0.6, most: 1.05 };

/**
 * Makes a timer. `probe` is work of some milliseconds, to compare clocks on.
 *
 * @throws {Error} where the device is lost
 */
export async function createTimer(device: Device, probe: readonly Dispatch[]): Promise<Timer> {
  const wall = await wallTimer(device.gpu!, probe);
  if (!device.gpu!.features.has("timestamp-query")) return wall;
  const gpu = await gpuTimer(device.gpu!).catch(() => null);
  if (!gpu) return wall;
  const again = Math.min(MOST_PROBES, Math.ceil(wall.leastMs / await wall.time(probe)));
  const long = Array.from({ length: again }, () => probe).flat();
  const shares: number[] = [];
  for (let i = 0; i < 3; i++) {
    const start = performance.now();
    const own = await gpu.time(long);
    shares.push(own / (performance.now() - start));
  }
  if (shares.some((share) => share >= BELIEVED.least && share <= BELIEVED.most)) return gpu;
  gpu.free();
  return wall;
}

async function wallTimer(gpu: Gpu, probe: readonly Dispatch[]): Promise<Timer> {
  const time = async (dispatches: readonly Dispatch[], restMs = 0) => {
    const start = performance.now();
    await submit(gpu, dispatches);
    if (restMs > 0) await new Promise((resume) => setTimeout(resume, restMs));
    await gpu.device.queue.onSubmittedWorkDone();
    rejectIfLost(gpu);
    return performance.now() - start;
  };
  await time(probe);
  const launches = [await time([]), await time([]), await time([])];
  const leastMs = Math.max(LEAST_WALL_MS, LAUNCHES * Math.min(...launches));
  return { clock: "wall", leastMs, time, free() {} };
}

async function gpuTimer(gpu: Gpu): Promise<Timer> {
  const querySet = gpu.device.createQuerySet({ type: "timestamp", count: 2 });
  const resolved = await allocate(gpu, 16, QUERY_RESOLVE);
  let coarse = true;
  const time = async (dispatches: readonly Dispatch[]) => {
    await submit(gpu, dispatches, {
      querySet,
      beginningOfPassWriteIndex: 0,
      endOfPassWriteIndex: 1,
    });
    const encoder = gpu.device.createCommandEncoder();
    encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
    gpu.device.queue.submit([encoder.finish()]);
    const [begin, end] = new BigUint64Array((await download(gpu, resolved)).buffer);
    coarse &&= begin % BigInt(COARSE_NS) === 0n && end % BigInt(COARSE_NS) === 0n;
    return Number(end - begin) / 1e6;
  };
  const free = () => [querySet, resolved].forEach((resource) => resource.destroy());
  return {
    clock: "gpu",
    get leastMs() {
      return coarse ? ROUNDINGS * COARSE_NS / 1e6 : LEAST_GPU_MS;
    },
    time,
    free,
  };
}
