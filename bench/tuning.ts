/**
 * Whether tuning chose well: the choice that the cache holds is measured once more, beside every other way
 * to cut up the same product.
 *
 * What the cache has not chosen yet is tuned and kept first (`--tune now`: all of it). Then rounds, each of
 * which times every candidate in turn, over copies of the matrix that together exceed a cache. Told are
 * the choice's time by that of the default, and by that of the candidate whose median is least, as
 * medians of ratios within a round with the bounds that hold 95 %. The least of a dozen is so by chance as
 * well: it is found in every other round, and held against the choice in those between.
 *
 *   deno task bench:tuning [--shapes 4096x4096,..] [--formats fp4,nf4-asym,f16] [--batches 1,8,64]
 *                          [--rounds N] [--tune cached|now] [--accuracy fast] [--matrix-units] [--strict]
 *   bun bench/tuning.ts ...
 *
 * @module
 */
import process from "node:process";
import { type Device, renderTable, type Row } from "../mod.ts";
import { pairedRatio, quantile } from "../lib/statistics.ts";
import { candidatesOf, kindOf, labelOf, tilingOf } from "../lib/tiling.ts";
import { timeTilings, tune } from "../lib/tuning.ts";
import { exitCodeOf, openGpu } from "./attended.ts";
import { workingSetOf } from "./buffers.ts";
import { readTuningOptions, tuningHelp, type TuningOptions } from "./options.ts";
import { runtime, today } from "./runtime.ts";
import type { Shape } from "./shapes.ts";
import { ratioText } from "./tables.ts";
import { loadCopies, matrixOf } from "./variants.ts";

const GROUP = 128;

/** More tokens are a matter of arithmetic, for which an eighth of the copies will do. */
const MANY_TOKENS = 32;

process.exitCode = await exitCodeOf(async () => {
  const options = readTuningOptions(process.argv.slice(2));
  if (!options) {
    console.log(tuningHelp);
    return 0;
  }
  const log = (line: string) => void process.stderr.write(`${line}\n`);
  const tuned = options.tune === "cached";
  const { binding, fast, accuracy, matrixUnits } = options;
  const device = await openGpu({ binding, fast, accuracy, matrixUnits, tuned, log });
  const rows: Row[] = [];
  for (const shape of options.shapes) {
    for (const format of options.formats) {
      rows.push(...await rowsOf(device, shape, format, options));
    }
  }
  console.log(`${runtime}, ${device.adapter}, ${device.fast ? "fast, " : ""}${today()}`);
  console.log(`Median of ${options.rounds} rounds\n`);
  console.log(await renderTable(rows, process.stdout.isTTY ? "text" : "markdown"));
  device.close();
  return 0;
});

/** A row of the table for each number of tokens. */
async function rowsOf(
  device: Device,
  shape: Shape,
  format: string,
  { batches, rounds }: TuningOptions,
): Promise<Row[]> {
  const loaded = await loadCopies(device, matrixOf(shape, format, GROUP), workingSetOf(device));
  const all = loaded.map(({ slices }) => slices[0]);
  const rows: Row[] = [];
  for (const batch of batches) {
    process.stderr.write(`${shape.rows}x${shape.cols} ${format}, ${batch}\n`);
    const slices = all.slice(0, Math.ceil(all.length / (batch > MANY_TOKENS ? 8 : 1)));
    await tune(device, slices, batch);
    const kind = kindOf(batch);
    const candidates = candidatesOf(device, kind, slices[0], batch);
    const times = await timeTilings(device, slices, batch, candidates, rounds);
    const [finding, telling] = [0, 1].map((odd) =>
      times.map((own) => own.filter((_, round) => round % 2 === odd))
    );
    const medians = finding.map((own) => quantile(own, 0.5));
    const best = medians.indexOf(Math.min(...medians));
    const chosen = labelOf(tilingOf(device, kind, slices[0], batch));
    const at = candidates.findIndex((tiling) => labelOf(tiling) === chosen);
    rows.push({
      shape: `${shape.rows}x${shape.cols}`,
      format,
      batch,
      ways: candidates.length,
      chosen: at === 0 ? "the default" : chosen,
      "chosen / default": shareOf(times[at], times[0]),
      "chosen / least": shareOf(telling[at], telling[best]),
      least: best === at ? "the same" : labelOf(candidates[best]),
      ms: quantile(times[at], 0.5) / slices.length,
    });
  }
  loaded.forEach(({ free }) => free());
  return rows;
}

function shareOf(own: readonly number[], other: readonly number[]): string {
  const { median, low, high } = pairedRatio(own, other);
  return ratioText(median, low, high);
}
