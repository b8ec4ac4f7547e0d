/**
 * What one weight costs in the loop of a kernel that does the work, read off its machine code.
 *
 * The loop is the innermost one that loads weights; where its trips are few and known (rows, words),
 * the one around it. A trip is the dearest way through, branches taken that add work, for a tile that
 * is full takes them; the cheapest is told beside it. Loops inside count by their trips; where nothing
 * tells how many those are, `unknownTrips` names them and they count once. A kernel whose loop was
 * unrolled to the last trip is one trip as a whole.
 *
 *   weights a trip     bits that the loads of weights bring, over the bits of a weight
 *   VALU               vector instructions issued; a dual one issues two operations
 *   loads in flight    most vector loads that are on their way at once, over trips one after another
 *
 * @module
 */

import { type Block, findLoops, type Instruction, type Loop } from "./assembly.ts";
import { tripsOf } from "./trips.ts";

/** Instructions of one trip, by the unit that they go to. */
export interface Counts {
  valu: number;
  /** Operations of those: two for a dual instruction. */
  operations: number;
  /** Products of floats and dot products' terms among the operations. */
  multiplies: number;
  salu: number;
  /** Vector loads and stores of memory, loads of workgroup memory and stores to it, scalar loads. */
  loads: number;
  stores: number;
  ldsLoads: number;
  ldsStores: number;
  scalarLoads: number;
  waits: number;
  barriers: number;
}

/** A trip of the loop. */
export interface InnerLoop {
  /** Label of its first block. */
  readonly label: string;
  /** Whether this is no loop any more but the whole kernel. */
  readonly unrolled: boolean;
  readonly counts: Counts;
  /** VALU instructions of the cheapest way through. */
  readonly leastValu: number;
  /** Bytes that vector loads of a lane bring, by buffer; "?" where it is not known. */
  readonly bytes: Readonly<Record<string, number>>;
  readonly loadsInFlight: number;
  /** Loads of weights alone. */
  readonly weightLoadsInFlight: number;
  /** Trips of the loops inside, by label. */
  readonly innerTrips: Readonly<Record<string, number>>;
  readonly unknownTrips: readonly string[];
  /** One trip, block by block. */
  readonly steps: readonly Block[];
}

/** Loops of more trips than this are walked by columns rather than by rows or words. */
const FEW_TRIPS = 16;

/** The loop that does the work; null where nothing is loaded from a buffer of weights. */
export function innerLoop(
  blocks: readonly Block[],
  weights: ReadonlySet<string>,
): InnerLoop | null {
  const roots = findLoops(blocks);
  const chosen = choose(blocks, roots, weights);
  if (!chosen) return wholeKernel(blocks, roots, weights);
  return tripOf(blocks, chosen, weights);
}

/** A kernel as one trip of a loop around it, should it load weights. */
function wholeKernel(
  blocks: readonly Block[],
  roots: readonly Loop[],
  weights: ReadonlySet<string>,
): InnerLoop | null {
  const all = blocks.flatMap(({ code }) => code);
  if (!all.some((load) => isLoad(load) && weights.has(load.buffer ?? ""))) return null;
  const again = blocks.map((block) => ({
    ...block,
    next: block.next.length > 0 ? block.next : [0],
  }));
  const around = { header: 0, blocks: new Set(blocks.keys()), inner: roots };
  return { ...tripOf(again, around, weights), unrolled: true };
}

function tripOf(
  blocks: readonly Block[],
  chosen: Loop,
  weights: ReadonlySet<string>,
): InnerLoop {
  const dear = wayThrough(blocks, chosen, Math.max);
  const code = dear.steps.flatMap((block) => block.code);
  const cheap = wayThrough(blocks, chosen, Math.min);
  return {
    label: blocks[chosen.header].label,
    unrolled: false,
    counts: countAll(code),
    leastValu: cheap.valu,
    bytes: bytesLoaded(code),
    loadsInFlight: inFlight(code, () => true),
    weightLoadsInFlight: inFlight(code, ({ buffer }) => weights.has(buffer ?? "")),
    innerTrips: Object.fromEntries(dear.trips),
    unknownTrips: dear.unknown,
    steps: dear.steps,
  };
}

/** Of the innermost loops that load weights the one that loads most, or a few trips of it around it. */
function choose(
  blocks: readonly Block[],
  roots: readonly Loop[],
  weights: ReadonlySet<string>,
): Loop | null {
  const bytes = ({ blocks: own }: Loop) => {
    const code = [...own].flatMap((block) => blocks[block].code);
    const loaded = bytesLoaded(code.filter(({ buffer }) => weights.has(buffer ?? "")));
    return Object.values(loaded).reduce((sum, n) => sum + n, 0);
  };
  let path: Loop[] = [];
  for (let loops = roots; loops.some((loop) => bytes(loop) > 0); loops = path.at(-1)!.inner) {
    path = [...path, [...loops].sort((a, b) => bytes(b) - bytes(a))[0]];
  }
  while (path.length > 1 && (tripsOf(blocks, path.at(-1)!) ?? Infinity) <= FEW_TRIPS) path.pop();
  return path.at(-1) ?? null;
}

/** A way from the header of a loop back to it. */
interface Way {
  readonly valu: number;
  readonly steps: readonly Block[];
  readonly trips: readonly (readonly [string, number])[];
  readonly unknown: readonly string[];
}

const NOTHING: Way = { valu: 0, steps: [], trips: [], unknown: [] };

function after(a: Way, b: Way): Way {
  return {
    valu: a.valu + b.valu,
    steps: [...a.steps, ...b.steps],
    trips: [...a.trips, ...b.trips],
    unknown: [...new Set([...a.unknown, ...b.unknown])],
  };
}

type Pick = (...valus: number[]) => number;

/** The way through a loop whose VALU instructions are the most, or the fewest. */
function wayThrough(blocks: readonly Block[], loop: Loop, pick: Pick): Way {
  const known = new Map<number, Way | null>();
  const from = (at: number): Way | null => {
    if (known.has(at)) return known.get(at)!;
    known.set(at, null); // a way that comes round here again is none
    const inner = loop.inner.find(({ blocks }) => blocks.has(at));
    const here = inner ? repeated(blocks, inner, pick) : blockWay(blocks[at]);
    const exits = inner
      ? [...inner.blocks].flatMap((block) => blocks[block].next.filter((b) => !inner.blocks.has(b)))
      : blocks[at].next;
    const rest = exits.filter((next) => loop.blocks.has(next))
      .flatMap((next) => next === loop.header ? NOTHING : from(next) ?? []);
    const valu = pick(...rest.map((way) => way.valu));
    const best = rest.find((way) => way.valu === valu);
    const way = best ? after(here, best) : null;
    known.set(at, way);
    return way;
  };
  return from(loop.header) ?? NOTHING;
}

/** A loop inside another, as often as it runs. */
function repeated(blocks: readonly Block[], loop: Loop, pick: Pick): Way {
  const label = blocks[loop.header].label;
  const once = wayThrough(blocks, loop, pick);
  const trips = tripsOf(blocks, loop);
  if (trips === null) return { ...once, unknown: [...once.unknown, label] };
  let all = NOTHING;
  for (let i = 0; i < trips; i++) all = after(all, once);
  return { ...all, trips: [[label, trips], ...once.trips] };
}

function blockWay(block: Block): Way {
  return { ...NOTHING, valu: countAll(block.code).valu, steps: [block] };
}

/** Counts of straight code. */
export function countAll(code: readonly Instruction[]): Counts {
  const count = (...is: RegExp[]) =>
    code.filter(({ op }) => is[0].test(op) && !is[1]?.test(op)).length;
  const valu = count(/^v_/, /^v_nop/);
  const halves = code.flatMap(({ op, text }) => [op, ...text.split("::").slice(1)]);
  return {
    valu,
    operations: valu + count(/^v_dual_/),
    multiplies: halves.reduce((sum, half) => sum + multipliesOf(half), 0),
    salu: count(/^s_/, /^s_(waitcnt|wait_|barrier|(buffer_)?load|nop|delay|clause|c?branch)/),
    loads: code.filter(isLoad).length,
    stores: count(/^(buffer|global|flat|scratch)_store/),
    ldsLoads: count(/^ds_(load|read)/),
    ldsStores: count(/^ds_(store|write)/),
    scalarLoads: count(/^s_(buffer_)?load/),
    waits: count(/^s_wait(cnt|_\w+cnt)/),
    barriers: count(/^s_barrier(_wait)?$/),
  };
}

function multipliesOf(op: string): number {
  const terms = /\bv_dot(\d)/.exec(op)?.[1];
  if (terms) return Number(terms);
  if (!/\bv_(dual_|pk_)?(fma|mac|mad|mul)\w*_f(16|32)/.test(op)) return 0;
  return op.includes("v_pk_") ? 2 : 1;
}

function isLoad({ op }: Instruction): boolean {
  return /^(buffer|tbuffer|global|flat|scratch|image)_load/.test(op);
}

/** Bytes that a lane gets from vector loads, by buffer. */
function bytesLoaded(code: readonly Instruction[]): Record<string, number> {
  const bytes: Record<string, number> = {};
  for (const instruction of code.filter(isLoad)) {
    const name = instruction.buffer ?? "?";
    bytes[name] = (bytes[name] ?? 0) + widthOf(instruction.op);
  }
  return bytes;
}

function widthOf(op: string): number {
  const [, bits] = /_b(8|16|32|64|96|128)\b/.exec(op) ?? [];
  const [, words] = /_dwordx(\d)/.exec(op) ?? [];
  if (bits) return Number(bits) / 8;
  if (words) return 4 * Number(words);
  return /dword/.test(op) ? 4 : /(short|16)/.test(op) ? 2 : 1;
}

/** Most loads of interest on their way at once while straight code runs twice; they come in order. */
function inFlight(
  code: readonly Instruction[],
  ofInterest: (load: Instruction) => boolean,
): number {
  const waiting: Instruction[] = [];
  let most = 0;
  for (const instruction of [...code, ...code]) {
    if (isLoad(instruction)) waiting.push(instruction);
    const left = leftBy(instruction);
    if (left !== null && waiting.length > left) waiting.splice(0, waiting.length - left);
    most = Math.max(most, waiting.filter(ofInterest).length);
  }
  return most;
}

/** How many loads a wait leaves on their way; null for no wait. */
function leftBy({ op, text }: Instruction): number | null {
  if (!/^s_wait/.test(op)) return null;
  const [, count] = /vmcnt\((\d+)\)/.exec(text) ?? /_(?:vm|load)cnt (?:null, )?(\w+)/.exec(text) ??
    [];
  return count === undefined ? null : Number(count);
}
