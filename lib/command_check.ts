/**
 * `afpq check`: one row a quantised matrix, its worst output at each batch in units of the bound, and the
 * kernels that multiplied.
 *
 * @module
 */
import { checkCheckpoint, type CheckedTensor } from "./check_checkpoint.ts";
import type { CommandContext, CommandResult } from "./command.ts";
import { type Accuracy, type Binding, openDevice } from "./device.ts";
import { deviceFacts, deviceText } from "./device_facts.ts";
import { type Row, told } from "./report.ts";
import { quote } from "./strict_json.ts";
import { tunedText, type TuneMode } from "./tuning.ts";

/** Options of the command. */
export interface CheckCommandOptions {
  readonly path: string;
  readonly binding?: Binding;
  /** Whether to try for a fast device. */
  readonly fast?: boolean;
  /** "fast" multiplies a token or two in f16 or bytes; "exact" unless told. */
  readonly accuracy?: Accuracy;
  /** Whether matrix units multiply where there are any. */
  readonly matrixUnits?: boolean;
  /** Where tilings come from, the cache unless told. */
  readonly tune?: TuneMode;
}

/** Runs the command. */
export async function checkCommand(
  { path, binding, fast, accuracy, matrixUnits, tune }: CheckCommandOptions,
  context: CommandContext,
): Promise<CommandResult> {
  const device = await openDevice({
    binding,
    fast,
    accuracy,
    matrixUnits,
    tuned: (tune ?? "cached") === "cached",
    log: context.log,
  });
  try {
    const tensors = await checkCheckpoint(path, device, {
      ...context,
      tune: tune === "now" ? { onTuned: (tuned) => context.log(tunedText(tuned)) } : undefined,
    });
    const worst = tensors.reduce((a, b) => b.worst > a.worst ? b : a);
    return {
      json: { device: deviceFacts(device), tensors },
      rows: checkRows(tensors),
      lines: [`${deviceText(device)}: worst error ${told(worst.worst)} of the bound`],
      failure: worst.worst <= 1
        ? undefined
        : `Cannot rely on ${quote(device.adapter)} as errors must stay within the bound: got ${
          told(worst.worst)
        } times it for ${quote(worst.name)} at batch ${worst.batch}`,
    };
  } finally {
    device.close();
  }
}

function checkRows(tensors: readonly CheckedTensor[]): Row[] {
  return [...Map.groupBy(tensors, ({ name }) => name)].map(([name, batches]) => ({
    tensor: name,
    ...Object.fromEntries(batches.map(({ batch, worst }) => [`batch ${batch}`, worst])),
    kernels: [...new Set(batches.map(({ kernel }) => kernel))].join(", "),
  }));
}
