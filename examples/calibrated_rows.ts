/**
 * What the examples of calibrated methods share: the demo's model quantised in several ways, each scored
 * on held-out text beside the dense one, as rows of a table.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  estimateDifference,
  type Group,
  openDevice,
  openTokenizer,
  quantizeCalibrated,
  quantizeCheckpoint,
  type Row,
  type TextScore,
  textWindows,
} from "../mod.ts";
import { askedCounts } from "./asked_counts.ts";
import { temporaryFolder } from "./ending.ts";
import { scoreFolder } from "./scored_recipes.ts";
import { tinyLlamaFolder } from "./tiny_llama.ts";

/** A way to quantise. */
export interface Way {
  readonly method: "rtn" | "weighted" | "awq" | "gptq" | "gptq+awq";
  readonly format: string;
  readonly group: Group;
}

/** Rows of all ways, dense first: windows of 256 tokens as asked, to calibrate by and to score. */
export async function scoredRows(
  ways: readonly Way[],
  usual = { calibrate: 8, score: 6 },
): Promise<Row[]> {
  const asked = askedCounts(usual, { calibrate: 64, score: Infinity });
  const folder = await tinyLlamaFolder();
  const work = temporaryFolder();
  const device = await openDevice({ binding: "cpu" });
  try {
    const text = await readFile(join(folder, "calibration.txt"), "utf8");
    const heldOut = await readFile(join(folder, "heldout.txt"), "utf8");
    const tokenizer = await openTokenizer(folder);
    const cut = textWindows(tokenizer, heldOut, { context: 256, windows: asked.score });
    const score = (path: string) => scoreFolder(device, path, cut);
    const dense = await score(folder);
    const rows: Row[] = [row("dense", 16, 0, 0, dense, dense)];
    for (const { method, format, group } of ways) {
      const out = join(work, "out");
      const shape = { format, group, force: true };
      const { bitsPerWeight, nmse, reports } = method === "rtn"
        ? { ...await quantizeCheckpoint(folder, out, shape), reports: [] }
        : await quantizeCalibrated(folder, out, {
          ...shape,
          ...{ method, device, text, windows: asked.calibrate },
        });
      const shares = reports.map(({ outputError, plainOutputError }) =>
        outputError / plainOutputError
      );
      const worst = Math.max(...shares, shares.length > 0 ? 0 : 1);
      const name = `${method} ${format} g${group}`;
      rows.push(row(name, bitsPerWeight, nmse!, worst, await score(out), dense));
      console.error(`${name} scored`);
    }
    return rows;
  } finally {
    device.close();
  }
}

/** A row of the table; the difference to dense is paired, window by window. */
function row(
  way: string,
  bits: number,
  error: number,
  worst: number,
  scored: TextScore,
  dense: TextScore,
): Row {
  const { mean, standardError } = estimateDifference(dense.windowNll, scored.windowNll);
  return {
    way,
    "bits/weight": bits,
    "weight error": error,
    "worst output / rtn": worst,
    perplexity: scored.perplexity,
    "nats over dense": mean,
    "+-": standardError ?? NaN,
  };
}
