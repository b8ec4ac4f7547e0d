/**
 * `afpq dequantize`: a quantised checkpoint in, plain safetensors out.
 *
 * @module
 */
import type { CommandContext, CommandResult } from "./command.ts";
import { dequantizeCheckpoint, type DequantizeOptions } from "./dequantize_checkpoint.ts";
import { bytesText } from "./progress.ts";
import { told } from "./report.ts";

/** Options of the command. */
export interface DequantizeCommandOptions extends Pick<DequantizeOptions, "dtype" | "force"> {
  readonly path: string;
  readonly out: string;
}

/** Runs the command. */
export async function dequantizeCommand(
  { path, out, ...options }: DequantizeCommandOptions,
  context: CommandContext,
): Promise<CommandResult> {
  const done = await dequantizeCheckpoint(path, out, { ...options, ...context });
  const { tensors, weights, bytes, seconds } = done;
  const line = `${tensors} tensors, ${weights} weights; ${bytesText(bytes)} written to ${out} in ${
    told(seconds)
  } s`;
  return { json: done, rows: [], lines: [line] };
}
