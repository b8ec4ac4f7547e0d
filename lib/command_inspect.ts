/**
 * `afpq inspect`: one row a tensor, a quantised matrix being one.
 *
 * @module
 */
import type { CommandResult } from "./command.ts";
import { inspectCheckpoint, type Inspection } from "./inspect_checkpoint.ts";
import { bytesText } from "./progress.ts";
import { type Row, told } from "./report.ts";

/** Runs the command. */
export async function inspectCommand({ path }: { path: string }): Promise<CommandResult> {
  const inspection = await inspectCheckpoint(path);
  return {
    json: inspection,
    get rows() {
      return inspectRows(inspection); // only where a table is shown: there may be half a million
    },
    lines: [summaryLine(inspection)],
  };
}

function inspectRows({ tensors, quantized }: Inspection): Row[] {
  const dense = tensors.filter(({ source }) => source === undefined);
  const told = dense.map(({ name, dtype, shape, begin, end }) => ({
    tensor: name,
    dtype,
    shape: `[${shape.join(", ")}]`,
    bytes: end - begin,
  }));
  if (!quantized) return told;
  const coded = quantized.some(({ scales }) => scales !== undefined);
  const bytesOf = Map.groupBy(tensors, ({ source }) => source);
  const packed = quantized.map(({ name, rows, cols, format, group, scales, bitsPerWeight }) => ({
    tensor: name,
    dtype: format.length > 60 ? format.replace(/^custom:.*-/, "custom-") : format,
    shape: `[${rows}, ${cols}]`,
    bytes: bytesOf.get(name)!.reduce((sum, { begin, end }) => sum + end - begin, 0),
    group,
    ...(coded && { scales: scales ?? "f16" }),
    "bits/weight": bitsPerWeight,
  }));
  return [
    ...packed,
    ...told.map((row) => ({ ...row, group: "", ...(coded && { scales: "" }), "bits/weight": "" })),
  ];
}

function summaryLine({ tensors, quantized, bitsPerWeight }: Inspection): string {
  const bytes = tensors.reduce((sum, { begin, end }) => sum + end - begin, 0);
  const count = `${tensors.length} tensors, ${bytesText(bytes)}`;
  return quantized
    ? `${count}; ${quantized.length} matrices quantised at ${told(bitsPerWeight!)} bits a weight`
    : count;
}
