/**
 * `bench report`: files of several machines as one table and two plots.
 *
 *   roofline.svg   GFLOP/s against FLOP per byte moved, under what a copy allows: how near to the
 *                  memory's speed each product is, and where arithmetic takes over
 *   speedup.svg    times as fast as dense f16 by batch: the geometric mean over shapes
 *
 * @module
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { oneLine, UsageError } from "../lib/read_options.ts";
import { renderTable, type Row, told } from "../lib/report.ts";
import { quote } from "../lib/strict_json.ts";
import type { ReportOptions } from "./options.ts";
import { axisOf, type Panel, type Series, type Style, svgOf } from "./plot.ts";
import type { BenchDocument, BenchRow } from "./results.ts";
import { rivals } from "./rivals.ts";
import { tableRow } from "./tables.ts";

/** Reads the files, writes the plots, gives the table and where the plots are. */
export async function makeReport({ files, out }: ReportOptions): Promise<string> {
  const documents = await Promise.all(files.map(readDocument));
  const table = await renderTable(documents.flatMap((document, i) => {
    const device: Row = documents.length > 1 ? { on: letter(i) } : {};
    return document.rows.map((row) => ({ ...device, ...tableRow(row) }));
  }));
  const heads = documents.map((document, i) => `${letter(i)}: ${deviceLine(document)}\n`);
  await mkdir(out, { recursive: true });
  const plots = { "roofline.svg": roofline(documents), "speedup.svg": speedup(documents) };
  for (const [name, panels] of Object.entries(plots)) {
    await writeFile(join(out, name), svgOf(panels));
  }
  const foot = Object.keys(plots).map((name) => `${join(out, name)}\n`);
  return [...heads, "\n", table, "\n", ...foot].join("");
}

/**
 * A bench's document out of a file.
 *
 * @throws {UsageError} if it is none
 */
async function readDocument(path: string): Promise<BenchDocument> {
  const fail = (why: string): never => {
    throw new UsageError(`Cannot read ${quote(path)} as a bench must be JSON of --json: ${why}`);
  };
  const text = await readFile(path, "utf8").catch((error) => fail(oneLine(error)));
  let document: Partial<BenchDocument> | null = null;
  try {
    document = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    fail(oneLine(error));
  }
  const { rows, device, ...facts } = document ?? {};
  if (!Array.isArray(rows) || typeof device !== "object" || device === null) {
    return fail("got none of its fields");
  }
  const wrong = wrongField(facts, DOCUMENT) ?? wrongField(device, DEVICE);
  if (wrong) fail(`got no ${wrong} that it could have`);
  for (const [i, row] of rows.entries()) {
    const wrong = wrongField(row ?? {}, ROW);
    if (wrong) fail(`got no ${wrong} that row ${i} could have`);
  }
  return document as BenchDocument;
}

type Check = (value: unknown) => boolean;
const isText: Check = (value) => typeof value === "string";
const isPositive: Check = (value) => typeof value === "number" && value > 0 && value < Infinity;
const isPositiveOrNone: Check = (value) => value === null || isPositive(value);
const isListOrNone: Check = (value) =>
  value === undefined || (Array.isArray(value) && value.every(isText));

/** What a report uses of a document, of its device and of a row. */
const DOCUMENT = { date: isText, commit: isText, copyGBs: isPositive };
const DEVICE = { adapter: isText, clock: isText, runtime: isText, arithmetic: isListOrNone };
const ROW = {
  ...{ case: isText, kernel: isText, format: isText, rows: isPositive, cols: isPositive },
  ...{ batch: isPositiveOrNone, medianMs: isPositive, p20Ms: isPositive, p80Ms: isPositive },
  ...{ gbPerS: isPositiveOrNone, shareOfCopy: isPositiveOrNone, vsF16: isPositiveOrNone },
  ...{ vsF16Low: isPositiveOrNone, vsF16High: isPositiveOrNone, vsSym: isPositiveOrNone },
  ...{ vsSymLow: isPositiveOrNone, vsSymHigh: isPositiveOrNone },
};

/** The first field that is not what it must be. */
function wrongField(fields: object, checks: Record<string, Check>): string | undefined {
  const known = fields as Record<string, unknown>;
  return Object.keys(checks).find((name) => !checks[name](known[name]));
}

function letter(i: number): string {
  return i < 26 ? String.fromCharCode(65 + i) : String(i);
}

function deviceLine({ device, date, commit, copyGBs }: BenchDocument): string {
  const { adapter, software, fast, accuracy, matrixUnits, clock, runtime } = device;
  const { arithmetic = accuracy === "fast" ? ["f16 arithmetic"] : [] } = device;
  const notes = [
    ...(fast ? ["fast"] : []),
    ...arithmetic,
    ...(matrixUnits ? ["matrix units"] : []),
    ...(software ? ["a CPU, no GPU's timings"] : []),
    `clock ${clock}`,
    runtime,
    `copy ${told(copyGBs)} GB/s`,
    `${date.slice(0, 10)}, commit ${commit.slice(0, 10) || "unknown"}`,
  ];
  return [adapter, ...notes].join(", ");
}

const COLORS: Record<string, string> = {
  fp4: "#d1495b",
  nf4: "#00798c",
  int4: "#edae49",
  fp3: "#9d4edd",
  nf3: "#3a7d44",
  f16: "#333333",
  f32: "#8a8a8a",
};

/** A format's look: two scales filled, one hollow; rivals as crosses, in the colour of the format. */
function styleOf({ format, kernel }: BenchRow): Style {
  const [family] = format.split("-");
  const color = COLORS[family] ?? "#5f6caf";
  if (isRival(kernel)) return { color, mark: kernel === rivals[0] ? "cross" : "triangle" };
  return { color, mark: family === format ? "square" : "circle", hollow: format.endsWith("-sym") };
}

function isRival(kernel: string): boolean {
  return (rivals as readonly string[]).includes(kernel);
}

/** A row's name in a legend: its format, with the kernel where that is a rival. */
function labelOf({ format, kernel }: BenchRow): string {
  return isRival(kernel)
    ? `${format}, ${kernel.replace("_two_scale", "").replace("constant_", "")}`
    : format;
}

/** Rows of products; a byte count and a format. */
function products({ rows }: BenchDocument): BenchRow[] {
  return rows.filter(({ batch, gbPerS }) => batch !== null && gbPerS !== null);
}

function roofline(documents: readonly BenchDocument[]): Panel[] {
  return documents.map((document, i) => {
    const place = (row: BenchRow): [number, number] => {
      const gflops = 2 * row.rows * row.cols * row.batch! / 1e6 / row.medianMs;
      return [gflops / row.gbPerS!, gflops];
    };
    const rows = products(document);
    const xs = rows.map((row) => place(row)[0]), ys = rows.map((row) => place(row)[1]);
    const x = axisOf("arithmetic intensity, FLOP / byte", xs, "tens");
    const y = axisOf("GFLOP/s", ys, "tens");
    const roof: Series = {
      label: `copy, ${told(document.copyGBs)} GB/s`,
      style: { color: "#777", dash: true },
      points: [x.least, x.most].map((at) => [at, at * document.copyGBs]),
      line: true,
    };
    const marks = seriesBy(rows, (all) => all.map(place), false);
    return { title: `Roofline, ${titleOf(document, i)}`, x, y, series: [roof, ...marks] };
  });
}

function speedup(documents: readonly BenchDocument[]): Panel[] {
  return documents.map((document, i) => {
    const rows = products(document).filter(({ vsF16, kernel, case: name }) =>
      vsF16 !== null && !isRival(kernel) && name !== "decode"
    );
    const byBatch = (all: readonly BenchRow[]) =>
      [...Map.groupBy(all, ({ batch }) => batch!)].sort(([a], [b]) => a - b)
        .map(([batch, same]): [number, number] => [batch, geometricMean(same)]);
    const series = seriesBy(rows, byBatch, true);
    const x = axisOf("batch, tokens at once", rows.map(({ batch }) => batch!), "twos");
    const most = series.flatMap(({ points }) => points.map(([, value]) => value));
    const y = axisOf("times as fast as dense f16, mean over shapes", [...most, 1.2], "linear");
    const even: Series = {
      label: "dense f16",
      style: { color: COLORS.f16, dash: true },
      points: [[x.least, 1], [x.most, 1]],
      line: true,
    };
    return { title: `Speed-up by batch, ${titleOf(document, i)}`, x, y, series: [even, ...series] };
  });
}

/** Rows of one label as one series, one after the other by label. */
function seriesBy(
  rows: readonly BenchRow[],
  points: (rows: readonly BenchRow[]) => readonly (readonly [number, number])[],
  line: boolean,
): Series[] {
  return [...Map.groupBy(rows, labelOf)].sort(([a], [b]) => a < b ? -1 : 1)
    .map(([label, same]) => {
      const style = styleOf(same[0]);
      return { label, style: { ...style, dash: line && style.hollow }, points: points(same), line };
    });
}

function geometricMean(rows: readonly BenchRow[]): number {
  return Math.exp(rows.reduce((sum, { vsF16 }) => sum + Math.log(vsF16!), 0) / rows.length);
}

/** At most so much of an adapter's name that a title holds it. */
function titleOf({ device }: BenchDocument, i: number): string {
  const name = device.adapter.length > 48 ? `${device.adapter.slice(0, 47)}…` : device.adapter;
  return `${letter(i)}: ${name}${device.software ? " (a CPU)" : ""}`;
}
