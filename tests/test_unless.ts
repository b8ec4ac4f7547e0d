/**
 * A test that some machines cannot run: skipped there, with the reason in its name, since no runner
 * but Bun's shows one otherwise.
 *
 * @module
 */

import process from "node:process";
import { test } from "node:test";

/**
 * Why a test is left out that would tell nothing new: SECOND=yes is set for a second runtime, which
 * need not repeat the long ones that hang on no runtime.
 */
export const repeated: string | null = process.env.SECOND === "yes" ? "SECOND=yes" : null;

/** `test(claim, body)`, unless there is a reason against it. */
export function testUnless(
  reason: string | null,
  claim: string,
  body: () => void | Promise<void>,
  options: { timeout?: number } = {},
): void {
  if (reason === null) test(claim, options, body);
  else test(`${claim} (skipped: ${reason})`, { skip: reason }, () => {});
}
