/**
 * What the bench says: one row a kernel, format, shape and batch, with what it is compared with in the
 * same rounds.
 *
 *   gbPerS        bytes of weights as stored, activations and outputs, by the median time
 *   shareOfCopy   of what a plain copy moves on this device
 *   vsF16         time of dense f16 / time of this: above 1 is faster than f16
 *   vsSym         time of this / time of the same with one scale: 1 is a second scale for free
 *
 * Ratios are medians over rounds of the ratio within the round, Low and High their 95 % bounds.
 *
 * @module
 */
import { pairedRatio, quantile } from "../lib/statistics.ts";
import { weightsOf } from "./shapes.ts";
import { oneSided, storedOf } from "./stored.ts";
import type { Variant, Work } from "./variants.ts";

/** One measurement; null is what does not apply. */
export interface BenchRow {
  readonly case: string;
  readonly kernel: string;
  readonly format: string;
  readonly rows: number;
  readonly cols: number;
  readonly group: number | "row" | null;
  readonly batch: number | null;
  readonly rounds: number;
  readonly medianMs: number;
  readonly p20Ms: number;
  readonly p80Ms: number;
  readonly gbPerS: number | null;
  readonly shareOfCopy: number | null;
  readonly vsF16: number | null;
  readonly vsSym: number | null;
  readonly vsSymLow: number | null;
  readonly vsSymHigh: number | null;
  readonly vsF16Low: number | null;
  readonly vsF16High: number | null;
}

/** What was wanted and is not among the rows. */
export interface NotRun {
  readonly case: string;
  readonly shape: string;
  readonly batch: number;
  readonly reason: string;
}

/** The device of a run, and how it was timed. */
export interface BenchDevice {
  readonly binding: string;
  readonly adapter: string;
  readonly backend: string;
  readonly software: boolean;
  readonly fast: boolean;
  readonly accuracy: string;
  /** What multiplies a token or two where it is not f32, in words. */
  readonly arithmetic?: readonly string[];
  readonly matrixUnits?: boolean;
  /** off, cached or now, and how many classes of shape have a tiling of their own. */
  readonly tune: string;
  readonly tuned: number;
  readonly clock: string;
  readonly runtime: string;
}

/** The document of `--json`. */
export interface BenchDocument {
  readonly device: BenchDevice;
  readonly date: string;
  readonly commit: string;
  readonly copyGBs: number;
  readonly launchUs: number;
  readonly rows: readonly BenchRow[];
  readonly notRun: readonly NotRun[];
}

/** A variant and the ms of each of its rounds, for one run of the work. */
export interface Timed {
  readonly variant: Variant;
  readonly times: readonly number[];
}

/** Rows of one piece of work, all of whose variants were timed in the same rounds. */
export function rowsOf(work: Work, timed: readonly Timed[], copyGBs: number): BenchRow[] {
  const [{ cols }] = work.shapes;
  const weights = weightsOf(work.shapes, work.order);
  const find = (kernel: string, format: string) =>
    timed.find(({ variant }) => variant.kernel === kernel && variant.format === format)?.times;
  return timed.map(({ variant, times }) => {
    const { kernel, kernels, format, bytes } = variant;
    const dense = format === "f16" || format === "f32";
    const f16 = format === "f16" ? undefined : find("own", "f16");
    const one = oneSided(format);
    const sym = one === undefined ? undefined : find(kernel, one);
    const vsF16 = f16 && pairedRatio(f16, times);
    const vsSym = sym && pairedRatio(times, sym);
    const facts = timesOf(times);
    const gbPerS = bytes / 1e6 / facts.medianMs;
    return {
      case: work.case,
      kernel: kernels,
      format,
      rows: weights / cols,
      cols,
      group: dense ? null : storedOf(format, work.group).group,
      batch: work.batch,
      ...facts,
      gbPerS,
      shareOfCopy: gbPerS / copyGBs,
      vsF16: vsF16?.median ?? null,
      vsSym: vsSym?.median ?? null,
      vsSymLow: vsSym?.low ?? null,
      vsSymHigh: vsSym?.high ?? null,
      vsF16Low: vsF16?.low ?? null,
      vsF16High: vsF16?.high ?? null,
    };
  });
}

/** How much faster than each rival the same format is, in the same rounds; `shape` is for people. */
export function rivalLines(shape: string, timed: readonly Timed[]): string[] {
  return timed.flatMap(({ variant: { kernel, format }, times }) => {
    const own = timed.find(({ variant }) => variant.kernel === "own" && variant.format === format);
    if (kernel === "own" || !own) return [];
    const { median, low, high } = pairedRatio(times, own.times);
    const bounds = `${low.toFixed(2)}-${high.toFixed(2)}`;
    return [`${format} ${shape}: ${median.toFixed(2)} (${bounds}) x as fast as ${kernel}`];
  });
}

/** A row of the cases `copy` and `empty`, which are compared with nothing. */
export function plainRow(
  name: string,
  times: readonly number[],
  { rows, cols, gbPerS }: { rows: number; cols: number; gbPerS: number | null },
): BenchRow {
  const nothing = { vsF16: null, vsSym: null, vsSymLow: null, vsSymHigh: null };
  return {
    case: name,
    kernel: name,
    format: "u32",
    rows,
    cols,
    group: null,
    batch: null,
    ...timesOf(times),
    gbPerS,
    shareOfCopy: gbPerS === null ? null : 1,
    ...nothing,
    vsF16Low: null,
    vsF16High: null,
  };
}

/** Rounds in number and quantiles. */
export function timesOf(times: readonly number[]) {
  const [p20Ms, medianMs, p80Ms] = [0.2, 0.5, 0.8].map((q) => quantile(times, q));
  return { rounds: times.length, medianMs, p20Ms, p80Ms };
}
