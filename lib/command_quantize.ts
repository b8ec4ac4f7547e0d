/**
 * `afpq quantize`: a checkpoint in, a folder out; one row a kind of tensor, layer numbers left out.
 *
 * @module
 */
import type { CommandContext, CommandResult } from "./command.ts";
import { bytesText } from "./progress.ts";
import { quantizeCheckpoint, type QuantizeCheckpointOptions } from "./quantize_checkpoint.ts";
import type { QuantizeSummary, TensorSummary } from "./quantize_checkpoint.ts";
import { type Row, told } from "./report.ts";

/** Options of the command. */
export interface QuantizeCommandOptions extends
  Pick<
    QuantizeCheckpointOptions,
    | "format"
    | "group"
    | "scales"
    | "clip"
    | "codebook"
    | "bits"
    | "include"
    | "exclude"
    | "force"
    | "dryRun"
  > {
  readonly model: string;
  readonly out: string;
}

/** Runs the command. */
export async function quantizeCommand(
  { model, out, ...options }: QuantizeCommandOptions,
  context: CommandContext,
): Promise<CommandResult> {
  const done = await quantizeCheckpoint(model, out, { ...options, ...context });
  const { path, tensors, weights, bitsPerWeight, nmse, seconds } = done;
  return {
    json: { path, tensors: tensors.length, weights, bitsPerWeight, nmse, seconds },
    rows: kindRows(tensors),
    lines: [summaryLine(done, options.dryRun ?? false)],
  };
}

function summaryLine(done: QuantizeSummary, dryRun: boolean): string {
  const { path, bytes, tensors, weights, bitsPerWeight, nmse, seconds } = done;
  const cost = `${tensors.length} tensors, ${weights} weights at ${told(bitsPerWeight)} bits`;
  return dryRun
    ? `${cost}; ${bytesText(bytes)} would be written to ${path}`
    : `${cost}, relative error ${told(nmse!)}; ${bytesText(bytes)} written to ${path} in ${
      told(seconds)
    } s`;
}

/** One row for all tensors that differ in numbers only. */
function kindRows(tensors: readonly TensorSummary[]): Row[] {
  const coded = tensors.some(({ scales }) => scales !== undefined);
  const kinds = Map.groupBy(tensors, ({ name, rows, cols }) => {
    return `${name.replace(/\d+/g, "N")} [${rows}, ${cols}]`;
  });
  return [...kinds].map(([kind, same]) => {
    const [name, shape] = [
      kind.slice(0, kind.lastIndexOf(" [")),
      kind.slice(kind.lastIndexOf("[")),
    ];
    const known = same.every(({ nmse }) => nmse !== null);
    const mean = (of: (tensor: TensorSummary) => number) =>
      same.reduce((sum, tensor) => sum + of(tensor), 0) / same.length;
    return {
      tensor: name,
      shape,
      count: same.length,
      format: formatTold(same),
      group: common(same.map(({ group }) => group)),
      ...(coded && { scales: common(same.map(({ scales }) => scales ?? "f16")) }),
      "bits/weight": mean(({ bitsPerWeight }) => bitsPerWeight),
      ...(known && {
        NMSE: mean(({ nmse }) => nmse!),
        "largest error": Math.max(...same.map(({ largestError }) => largestError!)),
      }),
    };
  });
}

/** The format of all; a codebook of a tensor's own is not spelt out. */
function formatTold(tensors: readonly TensorSummary[]): string {
  return String(common(tensors.map(({ format }) => format.replace(/^custom:.*-/, "fitted-"))));
}

function common<T>(values: readonly T[]): T | "mixed" {
  return values.every((value) => value === values[0]) ? values[0] : "mixed";
}
