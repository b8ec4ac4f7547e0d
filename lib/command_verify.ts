/**
 * `afpq verify`: one row a fault, none when every bit is as it was written.
 *
 * @module
 */
import type { CommandContext, CommandResult } from "./command.ts";
import { quote } from "./strict_json.ts";
import { faultsLine, verifyCheckpoint } from "./verify_checkpoint.ts";

/** Runs the command. */
export async function verifyCommand(
  { path }: { path: string },
  context: CommandContext,
): Promise<CommandResult> {
  const report = await verifyCheckpoint(path, context);
  const { ok, files, tensors, faults } = report;
  return {
    json: ok ? { ok, files, tensors } : { ok, files, tensors, faults },
    rows: faults.map(({ file, tensor, reason }) => ({ file, tensor: tensor ?? "", reason })),
    lines: ok ? [`${files} files and ${tensors} tensors are as they were written`] : [],
    failure: ok
      ? undefined
      : `Cannot vouch for ${quote(path)} as it must be as it was written: got ${
        faultsLine(report)
      }`,
  };
}
