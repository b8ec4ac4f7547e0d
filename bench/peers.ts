/**
 * Other people's kernels and ours on one machine, in one run: what a product takes in ONNX Runtime
 * (WebGPU and CPU), in llama.cpp (CPU and, on a GPU, Vulkan) and here, everything in its own format.
 *
 *   deno task bench:peers [FLAGS]       bun bench/peers.ts [FLAGS]
 *
 * The same weights and activations for all; chain.ts says what is multiplied and what `error` is. Who is
 * wrong is not timed. Then rounds, in each of which all run once, in an order drawn anew: by the wall
 * clock, from activations in JavaScript to outputs in JavaScript, shared out over the products of a
 * chain. `/ ours` is the time by that of our first row within a round, with bounds that hold 95 %.
 *
 * Both packages are fetched where they are missing, some 350 MB; without them, on another system or
 * without FFI the rest is still timed, and what is left out is told.
 *
 * @module
 */
import { writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { type Device, openDevice } from "../lib/device.ts";
import { deviceFacts, deviceText } from "../lib/device_facts.ts";
import { oneLine, readNumber, UsageError } from "../lib/read_options.ts";
import { renderTable } from "../lib/report.ts";
import { createRandom } from "../lib/sampling.ts";
import { pairedRatio } from "../lib/statistics.ts";
import { attended, type BenchContext, exitCodeOf } from "./attended.ts";
import { workingSetOf } from "./buffers.ts";
import {
  type Chain,
  chainError,
  type ChainShape,
  type ChainWeights,
  chainWeights,
  type Peer,
} from "./chain.ts";
import { ggmlCpuPeers, ggmlVulkanPeers } from "./ggml_graph.ts";
import { activations } from "./made_matrices.ts";
import { shuffled } from "./measure.ts";
import { onnxPeers } from "./onnx_runtime.ts";
import { batchOf, listOf, parse, readFast, readJsonPath, refuse, shapesOf } from "./options.ts";
import { ownPeers } from "./own_chain.ts";
import { timesOf } from "./results.ts";
import { commit, runtime, today } from "./runtime.ts";
import type { Shape } from "./shapes.ts";
import { ratioText } from "./tables.ts";

const help = `peers [--shapes 4096x4096] [--batches 1,8,64] [--with LIST] [--rounds N] [--json FILE]

Times products by other people's kernels and by ours, on the same weights, in interleaved rounds.

  --shapes LIST    ROWSxCOLS, or names as bench has them; each with its transpose by turns
  --batches LIST   tokens at once
  --with LIST      of ${Object.keys(sources()).join(", ")}; all unless told
  --rounds N       9 unless told, 5 where the CPU plays the GPU
  --json FILE      every number
  --strict         our device without Dawn's toggles; unless told, --fast
  -h, --help       this text`;

interface Options {
  readonly shapes: readonly Shape[];
  readonly batches: readonly number[];
  readonly with: readonly string[];
  readonly rounds?: number;
  readonly json?: string;
  readonly fast: boolean;
}

/** One measurement. */
export interface PeerRow {
  readonly by: string;
  readonly on: string;
  readonly format: string;
  readonly bitsPerWeight: number;
  readonly rows: number;
  readonly cols: number;
  readonly batch: number;
  readonly error: number;
  readonly products: number;
  readonly rounds: number;
  readonly medianMs: number;
  readonly p20Ms: number;
  readonly p80Ms: number;
  /** Of weights as stored. */
  readonly gbPerS: number;
  /** Time by that of the first row, within rounds. */
  readonly vsOwn: number | null;
  readonly vsOwnLow: number | null;
  readonly vsOwnHigh: number | null;
}

/** Numbers keep their size along so many. */
const MOST_PAIRS = 16;
const ROUNDS = { software: 5, hardware: 9 };
/** Before each chain: threads of the one before may go on looking for work for a while. */
const PAUSE_MS = 30;
/** Errors that are not of rounding: exact kernels, and 8-bit activations or f16 sums along a chain. */
const MOST_ERROR = { own: 1e-5, others: 0.1 };

/** By name, who can be asked. */
function sources(): Record<string, (device: Device) => Peer[] | Promise<Peer[]>> {
  return {
    afpq: ownPeers,
    onnxruntime: () => onnxPeers(),
    "llama.cpp-cpu": () => ggmlCpuPeers(),
    "llama.cpp-vulkan": ({ software }) => ggmlVulkanPeers(software),
  };
}

/** Reads the flags; null is a request for help. */
export function readPeerOptions(args: readonly string[]): Options | null {
  const parsed = parse(args, ["shapes", "batches", "with", "rounds", "json"], [
    "fast",
    "strict",
    "help",
  ]);
  if (parsed.help) return null;
  if (parsed._.length > 0) throw new UsageError(`Cannot understand "${parsed._[0]}": see --help`);
  const names = Object.keys(sources());
  const known = (word: string) => names.includes(word) ? word : refuse(word, "peer", names);
  const wanted = listOf(parsed, "with", known) ?? names;
  return {
    shapes: listOf(parsed, "shapes", shapesOf) ?? [{ name: "", rows: 4096, cols: 4096 }],
    batches: listOf(parsed, "batches", batchOf) ?? [1, 8, 64],
    with: names.filter((name) => wanted.includes(name)), // ours first
    rounds: readNumber(parsed, "rounds", { least: 3, most: 10_000 }),
    json: readJsonPath(parsed),
    fast: readFast(parsed),
  };
}

/** Runs it; gives the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const options = readPeerOptions(args);
  if (!options) {
    process.stdout.write(`${help}\n`);
    return 0;
  }
  const { stopped } = await attended((context) => runPeers(options, context));
  return stopped ? 130 : 0;
}

async function runPeers(options: Options, context: BenchContext): Promise<void> {
  const leftOut: string[] = [];
  const log = (line: string) => {
    leftOut.push(line);
    context.log(line);
  };
  const device = await openDevice({ fast: options.fast, tuned: false, log: context.log });
  try {
    if (!device.gpu) throw new Error("Cannot bench as there must be a GPU: got TypeScript alone");
    const kind = device.software ? "software" : "hardware";
    const peers = await findPeers(device, options.with, log);
    const all: PeerRow[] = [];
    say(`${deviceText(device)}; ${cpus().length} x ${cpus()[0].model}; ${runtime}, ${today()}`);
    for (const { rows, cols } of options.shapes) {
      const weights = chainWeights({ rows, cols });
      for (const tokens of options.batches) {
        if (context.signal.aborted) break;
        const pairs = Math.ceil(Math.min(MOST_PAIRS, workingSetOf(device) / (rows * cols)));
        const work = { rows, cols, tokens, pairs };
        const rounds = options.rounds ?? ROUNDS[kind];
        const found = await timePeers(peers, work, weights, rounds, { ...context, log });
        all.push(...found);
        if (found.length === 0) continue;
        say(`\n${shapeText(work)}\n\n${(await renderTable(found.map(tableRow))).trimEnd()}`);
      }
    }
    if (device.software) say("\nThis CPU plays a GPU: its timings are no GPU's");
    if (options.json) await writeJson(options.json, device, { rows: all, leftOut });
  } finally {
    device.close();
  }
}

async function writeJson(
  path: string,
  device: Device,
  said: { rows: readonly PeerRow[]; leftOut: readonly string[] },
): Promise<void> {
  const facts = { ...deviceFacts(device), runtime };
  const document = { device: facts, date: new Date().toISOString(), commit: commit(), ...said };
  await writeFile(path, `${JSON.stringify(document, null, 1)}\n`);
}

async function findPeers(
  device: Device,
  names: readonly string[],
  log: (line: string) => void,
): Promise<Peer[]> {
  const found: Peer[] = [];
  for (const name of names) {
    try {
      found.push(...await sources()[name](device));
    } catch (error) {
      log(`left out: ${name}: ${oneLine(error)}`);
    }
  }
  return found;
}

/** A peer's chain that agrees with the reference, and what its rounds took, ms a chain. */
interface Timed {
  readonly peer: Peer;
  readonly chain: Chain;
  readonly error: number;
  readonly times: number[];
}

/** Makes, checks and times everybody's chain. */
export async function timePeers(
  peers: readonly Peer[],
  work: ChainShape,
  weights: ChainWeights,
  rounds: number,
  { signal, onProgress, log }: BenchContext,
): Promise<PeerRow[]> {
  const x = activations(work.tokens * work.cols);
  const timed: Timed[] = [];
  const total = peers.length * (rounds + 1);
  try {
    for (const [i, peer] of peers.entries()) {
      if (signal.aborted) return [];
      onProgress(i, total, `making ${nameOf(peer)}`, "chains");
      try {
        timed.push(await makeChecked(peer, work, weights, x));
      } catch (error) {
        if (peer.by === "afpq" && error instanceof RangeError) throw error;
        log(`left out: ${nameOf(peer)}: ${oneLine(error)}`);
      }
    }
    const random = createRandom(1);
    let done = peers.length;
    for (let round = 0; round < rounds; round++) {
      for (const { peer, chain, times } of shuffled(timed, random)) {
        if (signal.aborted) break;
        onProgress(done++, total, nameOf(peer), "chains");
        await pause(PAUSE_MS);
        const start = performance.now();
        await chain.run(x);
        times.push(performance.now() - start);
      }
    }
    const own = timed.find(({ peer }) => peer.by === "afpq");
    const whole = Math.min(...timed.map(({ times }) => times.length));
    return whole > 0 ? timed.map((one) => rowOf(one, own, work, whole)) : [];
  } finally {
    for (const { chain } of timed) await chain.free();
  }
}

async function makeChecked(
  peer: Peer,
  work: ChainShape,
  weights: ChainWeights,
  x: Float32Array<ArrayBuffer>,
): Promise<Timed> {
  const chain = await peer.make(work, weights);
  try {
    const error = chainError(work, chain.weights(), x, await chain.run(x));
    const most = peer.by === "afpq" ? MOST_ERROR.own : MOST_ERROR.others;
    if (!(error <= most)) {
      throw new RangeError(`Cannot time it as its error must be at most ${most}: got ${error}`);
    }
    await chain.run(x); // once more, for who only now has all it needs
    return { peer, chain, error, times: [] };
  } catch (error) {
    await chain.free();
    throw error;
  }
}

function rowOf(
  { peer: { by, on, format }, chain: { bitsPerWeight }, error, times }: Timed,
  own: Timed | undefined,
  { rows, cols, tokens, pairs }: ChainShape,
  rounds: number,
): PeerRow {
  const products = 2 * pairs;
  const each = times.slice(0, rounds).map((ms) => ms / products);
  const ours = own?.times.slice(0, rounds).map((ms) => ms / products);
  const facts = timesOf(each);
  const ratio = ours && pairedRatio(each, ours);
  return {
    by,
    on,
    format,
    bitsPerWeight,
    rows,
    cols,
    batch: tokens,
    error,
    products,
    ...facts,
    gbPerS: rows * cols * bitsPerWeight / 8 / 1e6 / facts.medianMs,
    vsOwn: ratio?.median ?? null,
    vsOwnLow: ratio?.low ?? null,
    vsOwnHigh: ratio?.high ?? null,
  };
}

function tableRow(row: PeerRow) {
  return {
    by: row.by,
    on: row.on,
    format: row.format,
    "bits/weight": row.bitsPerWeight,
    error: row.error.toExponential(1),
    ms: row.medianMs,
    "GB/s": row.gbPerS,
    "/ ours": ratioText(row.vsOwn, row.vsOwnLow, row.vsOwnHigh),
  };
}

function shapeText({ rows, cols, tokens, pairs }: ChainShape): string {
  const shapes = rows === cols ? `${rows}x${cols}` : `${rows}x${cols} and ${cols}x${rows}`;
  return `${shapes}, batch ${tokens}, ${2 * pairs} products in a chain`;
}

function nameOf({ by, on, format }: Peer): string {
  return `${by} on ${on}, ${format}`;
}

const say = (text: string) => void process.stdout.write(`${text}\n`);

if (import.meta.main) process.exitCode = await exitCodeOf(() => main(process.argv.slice(2)));
