/**
 * Times variants side by side: in every round each runs once, in an order drawn anew, so that what
 * slows the machine slows all alike and ratios within a round keep.
 *
 * One sample is as many runs as the clock wants (`Timer.leastMs`), going on round the copies of the
 * weights from where the last one ended. Where the CPU plays the GPU whatever else it does gets in
 * between, so a round then takes several samples of each, in mixed order, and keeps the least.
 *
 * @module
 */
import type { Device } from "../lib/device.ts";
import { download, empty, joinKernel, prepare, upload } from "../lib/launch.ts";
import { createRandom } from "../lib/sampling.ts";
import { quantile } from "../lib/statistics.ts";
import { createTimer, RESTED, type Timer } from "../lib/timing.ts";
import copyText from "./copy.wgsl" with { type: "text" };
import emptyText from "./empty.wgsl" with { type: "text" };
import { type BenchRow, plainRow, type Timed } from "./results.ts";
import type { Variant } from "./variants.ts";

/** How long, and what ends it. */
export interface RoundOptions {
  readonly rounds: number;
  /** Most samples of each variant a round, of which the least counts. */
  readonly tries: number;
  /** A time of `performance.now()` after which no round begins. */
  readonly until: number;
  readonly signal: AbortSignal;
  /** Told how much is done, in samples. */
  readonly onSample: (samples: number) => void;
}

/** Rounds that are enough to tell something of. */
const LEAST_ROUNDS = 3;
/** Most that a round of all variants may take for the sake of more tries, ms. */
const TRIED_MS = 2500;
const MOST_RUNS = 4096;
const MOST_DISPATCHES = 8192;

/** One variant and how it is sampled. */
interface Sampler {
  readonly variant: Variant;
  readonly times: number[];
  /** Runs a sample. */
  readonly count: number;
  /** ms of the last sample. */
  lastMs: number;
  /** ms of the shortest of as many runs. */
  leastMs: number;
  next: number;
}

/** Times all variants in interleaved rounds; fewer rounds where time or patience ends. */
export async function timeAll(
  timer: Timer,
  variants: readonly Variant[],
  { rounds, tries, until, signal, onSample }: RoundOptions,
): Promise<Timed[]> {
  const samplers: Sampler[] = [];
  for (const variant of variants) {
    if (signal.aborted) return [];
    samplers.push(await warmUp(timer, variant));
  }
  const onceMs = samplers.reduce((sum, { lastMs }) => sum + lastMs, 0);
  const again = Math.max(1, Math.min(tries, Math.floor(TRIED_MS / onceMs))); // the same for all
  const roundMs = again * onceMs;
  if (performance.now() + LEAST_ROUNDS * roundMs > until) return [];
  const random = createRandom(1);
  const orders = Array.from({ length: again }, () => samplers);
  for (let round = 0; round < rounds; round++) {
    if (performance.now() + roundMs > until) break;
    for (const sampler of orders.flatMap((all) => shuffled(all, random))) {
      if (signal.aborted) return whole(samplers, round);
      const ms = await sample(timer, sampler);
      sampler.times[round] = Math.min(ms, sampler.times[round] ?? Infinity);
      onSample(tries / again);
    }
  }
  return whole(samplers);
}

/** What was timed, of as many rounds as all have. */
function whole(samplers: readonly Sampler[], rounds = Infinity): Timed[] {
  const most = Math.min(rounds, ...samplers.map(({ times }) => times.length));
  if (most < LEAST_ROUNDS) return [];
  return samplers.map(({ variant, times }) => ({ variant, times: times.slice(0, most) }));
}

/** Runs a variant until it is known how many runs make a sample. */
async function warmUp(timer: Timer, variant: Variant): Promise<Sampler> {
  const most = Math.max(
    1,
    Math.min(MOST_RUNS, Math.floor(MOST_DISPATCHES / variant.runs[0].length)),
  );
  let sampler = { variant, times: [], count: 1, lastMs: 0, leastMs: 0, next: 0 };
  await sample(timer, sampler);
  for (;;) {
    const ms = await sample(timer, sampler);
    const { lastMs, count, next } = sampler;
    if (lastMs >= timer.leastMs || count === most) return sampler;
    const wanted = Math.ceil(1.2 * timer.leastMs / Math.max(ms, 1e-6));
    sampler = { ...sampler, count: Math.min(most, Math.max(count + 1, wanted)), next, leastMs: 0 };
  }
}

/** ms of one run. */
async function sample(timer: Timer, sampler: Sampler): Promise<number> {
  const { runs } = sampler.variant;
  const taken = Array.from(
    { length: sampler.count },
    (_, i) => runs[(sampler.next + i) % runs.length],
  );
  sampler.next = (sampler.next + sampler.count) % runs.length;
  sampler.lastMs = await timer.time(taken.flat(), RESTED * sampler.leastMs);
  sampler.leastMs = Math.min(sampler.lastMs, sampler.leastMs || Infinity);
  return sampler.lastMs / sampler.count;
}

/** The same in an order drawn anew. */
export function shuffled<T>(all: readonly T[], random: () => number): T[] {
  const order = [...all];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

const COPY = joinKernel("copy", [copyText]);
const EMPTY = joinKernel("empty", [emptyText]);
const WORKGROUP = { software: 16, hardware: 64 };
/** Dispatches in a row whose time is shared out. */
const EMPTY_RUN = 64;

/** What a device can do at best. */
export interface Limits {
  readonly timer: Timer;
  readonly copyGBs: number;
  readonly launchUs: number;
  readonly rows: readonly BenchRow[];
}

/** The cases `copy` and `empty`, and the timer, whose clock is tried on the copy. */
export async function measureLimits(
  device: Device,
  rounds: Pick<RoundOptions, "rounds" | "tries">,
  workingSet: number,
): Promise<Limits> {
  const gpu = device.gpu!;
  const bytes = Math.min(workingSet / 2, gpu.device.limits.maxStorageBufferBindingSize);
  const fours = Math.floor(bytes / 16);
  const x = await upload(gpu, new Uint8Array(16 * fours).fill(3));
  const y = empty(gpu, 16 * fours);
  const lanes = WORKGROUP[device.software ? "software" : "hardware"];
  const copy = await prepare(gpu, COPY, {
    constants: { FOURS: fours, WORKGROUP: lanes },
    buffers: [x, y],
    workgroups: Math.ceil(fours / (16 * lanes)),
  });
  const word = empty(gpu, 4);
  const nothing = await prepare(gpu, EMPTY, { constants: {}, buffers: [word], workgroups: 1 });
  const timer = await createTimer(device, [copy]);
  const copies = await times(timer, [copy], rounds);
  const launches = await times(timer, new Array(EMPTY_RUN).fill(nothing), rounds);
  const [first] = new Uint32Array((await download(gpu, y, 4)).buffer);
  if (first !== 0x03030303) throw new Error(`Cannot time a copy as it must copy: got ${first}`);
  for (const buffer of [x, y, word]) buffer.destroy();
  const copyGBs = 2 * 16 * fours / 1e6 / quantile(copies, 0.5);
  const each = launches.map((ms) => ms / EMPTY_RUN);
  return {
    timer,
    copyGBs,
    launchUs: 1e3 * quantile(each, 0.5),
    rows: [
      plainRow("copy", copies, { rows: 1, cols: 4 * fours, gbPerS: copyGBs }),
      plainRow("empty", each, { rows: 1, cols: 1, gbPerS: null }),
    ],
  };
}

/** ms of some dispatches, in rounds. */
async function times(
  timer: Timer,
  dispatches: Parameters<Timer["time"]>[0],
  { rounds, tries }: Pick<RoundOptions, "rounds" | "tries">,
): Promise<number[]> {
  const once = await timer.time(dispatches);
  const again = Math.min(MOST_RUNS, Math.max(1, Math.ceil(timer.leastMs / Math.max(once, 1e-6))));
  const all = new Array(again).fill(dispatches).flat();
  await timer.time(all);
  const taken = new Array(rounds).fill(Infinity);
  for (let i = 0; i < tries * rounds; i++) {
    const round = Math.floor(i / tries);
    taken[round] = Math.min(taken[round], await timer.time(all) / again);
  }
  return taken;
}
