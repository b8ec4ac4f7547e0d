/**
 * Tuning: which of the candidates that tiling.ts has for a product is quickest on this device.
 *
 * Matrices of one class (kernel, format, and rows, columns and tokens to the next power of two) are
 * measured together: a candidate multiplies with each of them in turn, so that weights come from memory as
 * they do when a model runs, and all candidates take turns in every round. The quickest by its time paired
 * round by round is then measured once more beside the default, for as the least of a dozen it may be so by
 * chance, in three times as many rounds: it replaces the default where it is quicker by more than the doubt
 * about that.
 *
 * @module
 */

import type { Device } from "./device.ts";
import { type Dispatch, empty, upload } from "./launch.ts";
import { UNIT, unitsPerRow } from "./pack.ts";
import { createRooms, launchesOf, prepareAll, stepOf } from "./product.ts";
import { told } from "./report.ts";
import { type Slice, sliceBytes, UNIFORM } from "./resident.ts";
import { pairedRatio, quantile } from "./statistics.ts";
import { candidatesOf, classOf, kindOf, labelOf, type ProductKind, type Tiling } from "./tiling.ts";
import { createTimer, RESTED, type Timer } from "./timing.ts";
import { tuningKey, writeChoices } from "./tuning_cache.ts";

/** Where choices come from: nowhere, the cache, or measuring all of them anew. */
export type TuneMode = "off" | "cached" | "now";

/** All of them. */
export const tuneModes: readonly TuneMode[] = ["off", "cached", "now"];

/** What was measured of one class. */
export interface Tuned {
  /** See {@linkcode classOf}. */
  readonly class: string;
  /** The chosen tiling. */
  readonly chosen: string;
  /** Its time as a share of the default's, 1 where that was kept. */
  readonly share: number;
  /** Median ms of each candidate, the default first. */
  readonly candidates: readonly { readonly tiling: string; readonly ms: number }[];
}

/** Options of {@linkcode tune}. */
export interface TuneOptions {
  /** Told of each class that was measured. */
  readonly onTuned?: (tuned: Tuned) => void;
  /** Whether choices go into the cache as well. Default true. */
  readonly keep?: boolean;
}

/** What tuning found, in a line. */
export function tunedText({ class: name, chosen, share }: Tuned): string {
  return `tuned ${name}: ${chosen}, ${told(share)} of the default's time`;
}

const ROUNDS = 9;
/** Of the last two. */
const LAST_ROUNDS = 27;
/** Samples a round, of which the least counts: a CPU that plays a GPU does other things in between. */
const SOFTWARE_TRIES = 3;
/** Enough matrices to be larger than a cache, but not many. */
const MOST_BYTES = 256 * 2 ** 20;
const MOST_REPEATS = 1000;
/** Shares of the default's time above this are no gain. */
const WORTH = 0.97;

/**
 * Measures what is not chosen yet for products of `tokens` tokens with these slices, and uses it on this
 * device from now on.
 *
 * @throws {Error} where the device is lost, or the choices cannot be kept
 */
export async function tune(
  device: Device,
  slices: readonly Slice[],
  tokens: number,
  { onTuned, keep = true }: TuneOptions = {},
): Promise<Tuned[]> {
  const { gpu } = device;
  if (!gpu) return [];
  const kind = kindOf(tokens);
  const classes = Map.groupBy(slices, (slice) => classOf(device, kind, slice, tokens));
  const all: Tuned[] = [];
  for (const [name, members] of classes) {
    const candidates = candidatesOf(device, kind, members[0], tokens);
    const known = gpu.choices.get(name);
    if (candidates.length === 1 || candidates.some((tiling) => labelOf(tiling) === known)) continue;
    const tuned = { class: name, ...await measure(device, members, tokens, candidates) };
    gpu.choices.set(name, tuned.chosen);
    all.push(tuned);
    onTuned?.(tuned);
  }
  const choices = Object.fromEntries(all.map((tuned) => [tuned.class, tuned.chosen]));
  if (keep && all.length > 0) await writeChoices(tuningKey(device, gpu.features), choices);
  return all;
}

async function measure(
  device: Device,
  members: readonly Slice[],
  tokens: number,
  candidates: readonly Tiling[],
): Promise<Omit<Tuned, "class">> {
  const times = await timeTilings(device, members, tokens, candidates);
  const all = candidates.map((tiling, i) => ({
    tiling: labelOf(tiling),
    ms: quantile(times[i], 0.5),
  }));
  const best = leastOf(times);
  if (best === 0) return { chosen: all[0].tiling, share: 1, candidates: all };
  const two = [candidates[0], candidates[best]];
  const last = await timeTilings(device, members, tokens, two, LAST_ROUNDS);
  return { ...choose(two, last), candidates: all };
}

/**
 * Times of products of `tokens` tokens with slices of one class, cut up in each of several ways in turn:
 * [tilings, rounds] ms for all slices, or for as many as are larger than a cache.
 *
 * @throws {Error} where the device is lost, or has no GPU
 */
export async function timeTilings(
  device: Device,
  slices: readonly Slice[],
  tokens: number,
  tilings: readonly Tiling[],
  rounds = ROUNDS,
): Promise<number[][]> {
  const own: GPUBuffer[] = [];
  const keep = (buffer: GPUBuffer) => (own.push(buffer), buffer);
  const { room, free } = createRooms(device.gpu!);
  const some = slices.slice(0, Math.max(1, Math.floor(MOST_BYTES / sliceBytes(slices[0]))));
  try {
    const between = await productsOf(device, kindOf(tokens), some, tokens, keep);
    const products = between.map((product) => ({ ...product, room }));
    const runs = await Promise.all(
      tilings.map((tiling) => {
        const launches = products.flatMap((product) => launchesOf(device, product, tiling));
        return prepareAll(device.gpu!, launches);
      }),
    );
    const timer = await createTimer(device, runs[0]);
    const times = await timeAll(timer, runs, rounds, device.software ? SOFTWARE_TRIES : 1);
    timer.free();
    return times;
  } finally {
    for (const buffer of own) buffer.destroy();
    free();
  }
}

/** Products with each of the slices, between buffers made for it. */
async function productsOf(
  { gpu }: Device,
  kind: ProductKind,
  slices: readonly Slice[],
  tokens: number,
  keep: (buffer: GPUBuffer) => GPUBuffer,
) {
  const stride = UNIT * unitsPerRow(Math.max(...slices.map(({ constants }) => constants.COLS)));
  const rows = Math.max(...slices.map((slice) => slice.rows));
  const values = Float32Array.from({ length: tokens * stride }, (_, i) => Math.sin(i * i));
  const x = keep(await upload(gpu!, values));
  const y = keep(empty(gpu!, 4 * tokens * rows));
  const unused = keep(empty(gpu!, 16));
  const step = keep(await upload(gpu!, stepOf(tokens), UNIFORM));
  return slices.map((slice) => ({
    kind,
    slice: { ...slice, firstRow: 0 },
    tokens,
    x,
    y,
    outRows: rows,
    bias: null,
    unused,
    step,
  }));
}

/** Times of each run in each round, [candidates, rounds] ms. */
async function timeAll(
  timer: Timer,
  runs: readonly Dispatch[][],
  rounds: number,
  tries: number,
): Promise<number[][]> {
  const once = Math.max(1e-3, await timer.time(runs[0]));
  const repeats = Math.min(MOST_REPEATS, Math.ceil(timer.leastMs / once));
  const long = runs.map((run) => Array.from({ length: repeats }, () => run).flat());
  const times: number[][] = runs.map(() => []);
  for (const run of long) await timer.time(run); // warms up
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < tries * runs.length; turn++) {
      const i = (turn + round) % runs.length; // each comes after each other one
      const restMs = round > 0 ? RESTED * repeats * Math.min(...times[i]) : 0;
      const ms = await timer.time(long[i], restMs) / repeats;
      times[i][round] = Math.min(ms, times[i][round] ?? Infinity);
    }
  }
  return times;
}

/** Which times are least, by their share of the first, round by round. */
function leastOf(times: readonly (readonly number[])[]): number {
  const shares = times.map((own) => pairedRatio(own, times[0]).median);
  return shares.indexOf(Math.min(...shares));
}

/** The other of two tilings, if it takes a lesser share of the default's time beyond doubt. */
export function choose(
  [usual, other]: readonly Tiling[],
  [times, others]: readonly (readonly number[])[],
): { chosen: string; share: number } {
  const { median, high } = pairedRatio(others, times);
  if (median >= WORTH || high >= 1) return { chosen: labelOf(usual), share: 1 };
  return { chosen: labelOf(other), share: median };
}
