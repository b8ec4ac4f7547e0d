/**
 * Rows of the bench for people: short titles, ratios with their bounds, shapes by their names.
 *
 * @module
 */
import { type Row, told } from "../lib/report.ts";
import type { BenchRow } from "./results.ts";
import { linearsOf, models, shapes, tokenOrder, weightsOf } from "./shapes.ts";

/** A row as it is shown. */
export function tableRow(row: BenchRow): Row {
  return {
    case: row.case,
    shape: shapeName(row),
    batch: row.batch ?? "",
    format: row.format,
    kernel: row.kernel,
    ms: told(row.medianMs),
    "20-80 %": `${told(row.p20Ms)}-${told(row.p80Ms)}`,
    "GB/s": row.gbPerS === null ? "" : told(row.gbPerS),
    "of copy": row.shareOfCopy === null ? "" : `${told(100 * row.shareOfCopy)} %`,
    "x f16": ratioText(row.vsF16, row.vsF16Low, row.vsF16High),
    "/ sym": ratioText(row.vsSym, row.vsSymLow, row.vsSymHigh),
  };
}

/** A ratio with its bounds. */
export function ratioText(value: number | null, low: number | null, high: number | null): string {
  if (value === null) return "";
  const two = (number: number | null) => (number ?? NaN).toFixed(2);
  return `${two(value)} (${two(low)}-${two(high)})`;
}

/** The layer or model of a shape, with its size, or its size alone. */
function shapeName({ case: name, rows, cols }: BenchRow): string {
  const size = `${rows}x${cols}`;
  if (name !== "decode") {
    const named = shapes.find((shape) => shape.rows === rows && shape.cols === cols);
    return named ? `${size} ${named.name}` : size;
  }
  const model = models.find((model) => {
    const weights = weightsOf(linearsOf(model), tokenOrder(model));
    const before = weights - model.vocab * model.dim; // until 2026-11-28 without the head
    return [weights, before].includes(rows * cols);
  });
  return model?.name ?? size;
}
