/**
 * Whether tuning chose well: the choice that the cache holds is measured once more, beside every other way
 * to cut up the same product.
 *
 * What the cache has not chosen yet is tuned and kept first (`--tune now`: all of it). Then rounds, each of
 * which times every candidate in turn, over copies of the matrix that together exceed a cache. Told are
 * the choice's time by that of the default, and by that of the candidate whose median is least, as
 * medians of ratios within a round with the bounds that hold 95 %. The least of a dozen medians is so by
 * chance as well, so that a choice as good as all others comes out above 1 against it.
 *
 *   deno task bench:tuning [--shapes 4096x4096,..] [--formats fp4,nf4-asym,f16] [--batches 1,8,64]
 *                          [--rounds N] [--tune cached|now] [--strict]
 *   bun bench/tuning.ts ...
 *
 * @module
 */
import process from "node:process";
import { type Device, load, renderTable, type Row } from "../mod.ts";
import type { Slice } from "../lib/resident.ts";
import { pairedRatio, quantile } from "../lib/statistics.ts";
import { candidatesOf, labelOf, tilingOf } from "../lib/tiling.ts";
import { timeTilings, tune } from "../lib/tuning.ts";
import { exitCodeOf, openGpu } from "./attended.ts";
import { denseMatrix, packedMatrix } from "./made_matrices.ts";
import { readTuningOptions, type TuningOptions } from "./options.ts";
import { runtime, today } from "./runtime.ts";
import type { Shape } from "./shapes.ts";
import { storedOf } from "./stored.ts";
import { ratioText } from "./tables.ts";

/** Copies of a matrix are to exceed this: most caches. */
const MORE_THAN = { software: 64 * 2 ** 20, hardware: 256 * 2 ** 20 };
const MOST_COPIES = 64;

/** More tokens are a matter of arithmetic, for which an eighth of the copies will do. */
const MANY_TOKENS = 32;

process.exitCode = await exitCodeOf(async () => {
  const options = readTuningOptions(process.argv.slice(2));
  const log = (line: string) => void process.stderr.write(`${line}\n`);
  const tuned = options.tune === "cached";
  const device = await openGpu({ binding: options.binding, fast: options.fast, tuned, log });
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
  const { slices: all, free } = await copiesOf(device, shape, format);
  const rows: Row[] = [];
  for (const batch of batches) {
    process.stderr.write(`${shape.rows}x${shape.cols} ${format}, ${batch}\n`);
    const slices = all.slice(0, Math.ceil(all.length / (batch > MANY_TOKENS ? 8 : 1)));
    await tune(device, slices, batch);
    const kind = batch <= 2 ? "matvec" : "matmul";
    const candidates = candidatesOf(device, kind, slices[0], batch);
    const times = await timeTilings(device, slices, batch, candidates, rounds);
    const medians = times.map((own) => quantile(own, 0.5));
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
      "chosen / least": shareOf(times[at], times[best]),
      least: best === at ? "the same" : labelOf(candidates[best]),
      ms: medians[at] / slices.length,
    });
  }
  free();
  return rows;
}

function shareOf(own: readonly number[], other: readonly number[]): string {
  const { median, low, high } = pairedRatio(own, other);
  return ratioText(median, low, high);
}

/** A matrix of random bits on the device, as often as exceeds a cache. */
async function copiesOf(
  device: Device,
  shape: Shape,
  format: string,
): Promise<{ slices: Slice[]; free: () => void }> {
  const dense = format === "f16" || format === "f32";
  const matrix = dense
    ? denseMatrix(shape, format === "f16" ? "F16" : "F32")
    : packedMatrix(shape, storedOf(format, 128));
  const bytes = "codes" in matrix ? matrix.codes.byteLength : matrix.bytes.byteLength;
  const enough = device.software ? MORE_THAN.software : MORE_THAN.hardware;
  const copies = Math.min(MOST_COPIES, Math.ceil(enough / bytes));
  const loaded: Awaited<ReturnType<typeof load>>[] = [];
  for (let copy = 0; copy < copies; copy++) loaded.push(await load(device, matrix));
  return {
    slices: loaded.flatMap(({ slices }) => slices.slice(0, 1)),
    free: () => loaded.forEach(({ free }) => free()),
  };
}
