/**
 * One run of the bench: opens the device, finds its limits, then works through the plan until it is
 * done, time is up or somebody presses Ctrl-C; and says what came of it.
 *
 * @module
 */
import { writeFile } from "node:fs/promises";
import type { Device } from "../lib/device.ts";
import { deviceFacts, deviceText } from "../lib/device_facts.ts";
import { oneLine } from "../lib/read_options.ts";
import { renderTable, told } from "../lib/report.ts";
import { tuningKey, writeChoices } from "../lib/tuning_cache.ts";
import { type BenchContext, openGpu } from "./attended.ts";
import { freeBuffers, makeBuffers, workingSetOf } from "./buffers.ts";
import { type Limits, measureLimits, timeAll } from "./measure.ts";
import type { BenchOptions } from "./options.ts";
import { choicesOf, planOf } from "./plan.ts";
import { type BenchDocument, type BenchRow, type NotRun, rivalLines, rowsOf } from "./results.ts";
import { commit, runtime } from "./runtime.ts";
import { tableRow } from "./tables.ts";
import { makeVariant, type Variant, type Work, WrongKernel } from "./variants.ts";

const BUDGET_MS = 10 * 60_000;
const ROUNDS = { software: 15, hardware: 25 };
const TRIES = { software: 5, hardware: 1 };

/** A run that is under way. */
interface Run {
  readonly options: BenchOptions;
  readonly context: BenchContext;
  readonly device: Device;
  readonly limits: Limits;
  readonly rounds: number;
  readonly tries: number;
  readonly workingSet: number;
  readonly until: number;
  readonly rows: BenchRow[];
  readonly notRun: NotRun[];
  /** How much faster than the rivals. */
  readonly lines: string[];
  readonly failures: string[];
}

/** Runs the bench: the text for people, and why it failed if it did. */
export async function runBench(
  options: BenchOptions,
  context: BenchContext,
): Promise<{ text: string; failure?: string }> {
  const start = performance.now();
  const { binding, fast, accuracy, matrixUnits, tune } = options;
  planOf(options, false); // flags that leave nothing are refused before anything opens
  const device = await openGpu({
    binding,
    fast,
    accuracy,
    matrixUnits,
    tuned: tune === "cached",
    log: context.log,
  });
  try {
    if (tune === "now") await writeChoices(tuningKey(device, device.gpu.features), {}); // or be told now
    const kind = device.software ? "software" : "hardware";
    const rounds = options.rounds ?? ROUNDS[kind];
    const tries = TRIES[kind];
    const few = { rounds: Math.min(rounds, ROUNDS[kind]), tries };
    const limits = await measureLimits(device, few, workingSetOf(device));
    const limited = !options.all && !narrowed(options);
    const run: Run = {
      options,
      context,
      device,
      limits,
      rounds,
      tries,
      workingSet: workingSetOf(device),
      until: limited ? start + BUDGET_MS : Infinity,
      rows: limits.rows.filter((row) => !options.only || row.case === options.only),
      notRun: [],
      lines: [],
      failures: [],
    };
    context.log(`on ${deviceText(device)}, ${clockText(limits)}`);
    if (device.software) context.log("This CPU plays a GPU: its timings are no GPU's");
    await workThrough(run);
    return await conclude(run);
  } finally {
    device.close();
  }
}

/** Whether the flags choose what is run, which then runs to its end. */
function narrowed({ only, formats, shapes, batches }: BenchOptions): boolean {
  return [only, formats, shapes, batches].some((flag) => flag !== undefined);
}

function clockText({ timer, copyGBs, launchUs }: Limits): string {
  const clock = timer.clock === "gpu" ? "by its own clock" : "by the wall clock";
  return `timed ${clock}: copy ${told(copyGBs)} GB/s, launch ${told(launchUs)} us`;
}

async function workThrough(run: Run): Promise<void> {
  const { options, device, context, rounds, tries } = run;
  const plan = planOf(options, device.software);
  const samples = plan.map((work) => rounds * tries * choicesOf(options, work).length);
  const total = samples.reduce((a, b) => a + b, 0);
  let before = 0;
  for (const [i, work] of plan.entries()) {
    let done = before;
    const what = `${work.case} ${work.name} batch ${work.batch}`;
    context.onProgress(done, total, what, "samples");
    const onSample = (samples: number) => {
      done += samples;
      context.onProgress(Math.round(done), total, what, "samples");
    };
    await workOn(run, work, onSample).catch((error) => leave(run, work, oneLine(error)));
    before += samples[i];
  }
  const { lost } = device.gpu!;
  if (lost) run.failures.push(oneLine(lost));
}

/** Notes that a piece of work is not run, or a part of it. */
function leave(run: Run, work: Work, reason: string): void {
  const shape = work.case === "decode" ? work.name : shapeText(work);
  run.notRun.push({ case: work.case, shape, batch: work.batch, reason });
}

/** Makes, checks and times all variants of a piece of work. */
async function workOn(run: Run, work: Work, onSample: (samples: number) => void): Promise<void> {
  const { options, context: { signal }, device, limits, workingSet } = run;
  if (signal.aborted) return leave(run, work, "stopped");
  if (performance.now() > run.until) return leave(run, work, "no time left");
  const variants: Variant[] = [];
  const buffers = await makeBuffers(device, work);
  try {
    for (const choice of choicesOf(options, work)) {
      if (signal.aborted) return leave(run, work, "stopped");
      if (performance.now() > run.until) return leave(run, work, "no time left");
      const variant = await makeVariant(device, work, choice, buffers, workingSet).catch(
        (error) => {
          leave(run, work, `${choice.kernel} ${choice.format}: ${oneLine(error)}`);
          if (error instanceof WrongKernel) run.failures.push(oneLine(error));
          return null;
        },
      );
      if (variant) variants.push(variant);
    }
    if (variants.length === 0) return;
    const timed = await timeAll(limits.timer, variants, { ...run, signal, onSample });
    if (timed.length === 0) return leave(run, work, signal.aborted ? "stopped" : "no time left");
    run.rows.push(...rowsOf(work, timed, limits.copyGBs));
    run.lines.push(...rivalLines(shapeText(work), timed));
  } finally {
    variants.forEach((variant) => variant.free());
    freeBuffers(buffers);
  }
}

function shapeText({ shapes: [{ rows, cols }] }: Work): string {
  return `${rows}x${cols}`;
}

async function conclude(run: Run): Promise<{ text: string; failure?: string }> {
  const { options, limits, rows, notRun, lines, failures } = run;
  const document = `${JSON.stringify(documentOf(run), null, 1)}\n`;
  if (options.json) {
    await writeFile(options.json, document).catch((error) => failures.push(oneLine(error)));
  }
  const table = await renderTable(rows.map(tableRow));
  const left = notRun.map(({ case: name, shape, batch, reason }) =>
    `not run: ${name} ${shape}, batch ${batch}: ${reason}\n`
  );
  const tuned = `tune ${options.tune}: ${run.device.gpu!.choices.size} classes of shape tuned`;
  const head = `${deviceText(run.device)}, ${clockText(limits)}\n${tuned}\n\n`;
  const foot = run.device.software ? "\nThis CPU plays a GPU: these timings are no GPU's\n" : "";
  const faster = lines.length > 0 ? `\n${lines.join("\n")}\n` : "";
  return { text: [head, table, faster, foot, ...left].join(""), failure: failures[0] };
}

function documentOf({ options, device, limits, rows, notRun }: Run): BenchDocument {
  const { timer, copyGBs, launchUs } = limits;
  return {
    device: {
      ...deviceFacts(device),
      tune: options.tune,
      tuned: device.gpu!.choices.size,
      clock: timer.clock,
      runtime,
    },
    date: new Date().toISOString(),
    commit: commit(),
    copyGBs,
    launchUs,
    rows,
    notRun,
  };
}
