/**
 * `afpq quantize`: a checkpoint in, a folder out; one row a kind of tensor, layer numbers left out.
 *
 * @module
 */
import type { MatrixReport } from "./calibrate.ts";
import type { CommandContext, CommandResult } from "./command.ts";
import { type Binding, openDevice } from "./device.ts";
import type { Args } from "./parse_args.ts";
import { bytesText } from "./progress.ts";
import { quantizeCheckpoint, type QuantizeCheckpointOptions } from "./quantize_checkpoint.ts";
import type { QuantizeSummary, TensorSummary } from "./quantize_checkpoint.ts";
import { type CalibratedOptions, quantizeCalibrated } from "./quantize_calibrated.ts";
import { methods } from "./quantize_linear.ts";
import {
  callersPath,
  readBinding,
  readNumber,
  readOneOf,
  readText,
  text,
  UsageError,
} from "./read_options.ts";
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
  /** How inputs are seen; null where they are not. */
  readonly calibration?: Calibration | null;
}

/** A method and the text that it sees. */
export interface Calibration
  extends Pick<CalibratedOptions, "method" | "windows" | "context" | "actOrder"> {
  readonly path: string;
  /** The device that runs the text; plain TypeScript unless told. */
  readonly binding?: Binding;
}

/** Flags that only say how a text is used. */
const CALIBRATION_FLAGS = ["calibration", "windows", "context", "act-order", "binding"];

/** Reads `--method` and what goes with it; null for plain rounding. */
export function readCalibration(parsed: Args): Calibration | null {
  const method = readOneOf("method", text(parsed.method), methods) ?? "rtn";
  if (method === "rtn") {
    const idle = CALIBRATION_FLAGS.find((flag) =>
      parsed[flag] !== undefined && parsed[flag] !== false
    );
    if (!idle) return null;
    throw new UsageError(
      `Cannot run quantize with --${idle} as --method must be one of ${
        methods.slice(1).join(", ")
      }: got ${text(parsed.method) ?? "none"}`,
    );
  }
  const path = text(parsed.calibration);
  if (path === undefined) {
    throw new UsageError(
      `Cannot run quantize with --method ${method} as --calibration must name a text: got none`,
    );
  }
  const actOrder = parsed["act-order"] === true;
  if (actOrder && !method.startsWith("gptq")) {
    throw new UsageError(
      `Cannot run quantize with --act-order as --method must be gptq or gptq+awq: got ${method}`,
    );
  }
  return {
    method,
    path: callersPath(path),
    actOrder,
    windows: readNumber(parsed, "windows", { least: 1 }),
    context: readNumber(parsed, "context", { least: 2 }),
    binding: readBinding(parsed),
  };
}

/** Runs the command. */
export async function quantizeCommand(
  { calibration = null, ...options }: QuantizeCommandOptions,
  context: CommandContext,
): Promise<CommandResult> {
  const { model, out, ...how } = options;
  if (calibration !== null) return await calibratedResult(options, calibration, context);
  const done = await quantizeCheckpoint(model, out, { ...how, ...context });
  return resultOf(done, options.dryRun ?? false);
}

function resultOf(done: QuantizeSummary, dryRun: boolean): CommandResult & { json: object } {
  const { path, tensors, weights, bitsPerWeight, nmse, seconds } = done;
  return {
    json: { path, tensors: tensors.length, weights, bitsPerWeight, nmse, seconds },
    rows: kindRows(tensors),
    lines: [summaryLine(done, dryRun)],
  };
}

/** Runs the command with a text; outputs are told of as well. */
async function calibratedResult(
  { model, out, ...options }: Omit<QuantizeCommandOptions, "calibration">,
  { path, binding = "cpu", ...calibration }: Calibration,
  context: CommandContext,
): Promise<CommandResult> {
  const about = await readText(path);
  const device = await openDevice({ binding, log: context.log });
  try {
    const done = await quantizeCalibrated(model, out, {
      ...options,
      ...context,
      ...calibration,
      text: about,
      textName: path,
      device,
      onLinear: (done, total, what) => context.onProgress(done, total, what, "linears"),
    });
    const { json, rows, lines } = resultOf(done, options.dryRun ?? false);
    const { method } = calibration;
    if (options.dryRun) return { json: { ...json, method }, rows, lines };
    const outputs = outputFacts(done.reports);
    return {
      json: { ...json, method, tokens: done.tokens, ...outputs },
      rows,
      lines: [...lines, outputLine(outputs, done.tokens)],
    };
  } finally {
    device.close();
  }
}

/** What outputs lose, matrix by matrix, as a share of what plain rounding would have lost. */
function outputFacts(reports: readonly MatrixReport[]) {
  const shares = reports.map(({ outputError, plainOutputError }) =>
    plainOutputError === 0 ? 1 : outputError / plainOutputError
  );
  return {
    outputErrorShare: shares.reduce((a, b) => a + b, 0) / shares.length,
    largestOutputErrorShare: Math.max(...shares),
    saturated: reports.reduce((sum, { saturated }) => sum + saturated, 0),
  };
}

function outputLine(
  { outputErrorShare, largestOutputErrorShare, saturated }: ReturnType<typeof outputFacts>,
  tokens: number,
): string {
  return `outputs lose ${told(outputErrorShare)} of what plain rounding would have lost, at most ` +
    `${told(largestOutputErrorShare)}, over ${tokens} tokens; ${saturated} weights saturated`;
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
