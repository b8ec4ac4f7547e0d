/**
 * A test that some machines cannot run: skipped there, with the reason in its name, since no runner
 * but Bun's shows one otherwise.
 *
 * @module
 */

import { test } from "node:test";

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
