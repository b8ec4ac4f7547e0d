/**
 * Waits for work that is asked for again and again, resting while it is surely not done; and lets the
 * event loop turn while work is done that never waits.
 *
 * Once a map is pending, Dawn asks for its end some 30,000 times a second. That takes a core from a
 * GPU that is a CPU, and in Deno each time costs some 150 bytes that do not come back: gigabytes an
 * hour. So the first nine tenths of a wait that is known are slept through. Known is the shorter of
 * the last two of the same kind, for the first includes compiling; a rest that was too long is at once
 * one tenth shorter.
 *
 * @module
 */

import { setImmediate, setTimeout } from "node:timers";

/** Waits shorter than this are not worth a rest. */
const SHORT_MS = 10;

/** What a timer may be late by. */
const LATE_MS = 2;

const lastTwo = new WeakMap<object, readonly [number, number]>();

/** Waits by `wait`, having rested; `kind` is an object that is the same for waits that take as long. */
export async function waitPatiently<T>(kind: object, wait: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const [a, b] = lastTwo.get(kind) ?? [0, 0];
  const known = Math.min(a, b);
  if (known >= SHORT_MS) {
    await new Promise((resume) => setTimeout(resume, 0.9 * known - LATE_MS));
  }
  const result = await wait();
  lastTwo.set(kind, [b, performance.now() - start]);
  return result;
}

/** Lets in what is due: signals and output, the loss of a device. Costs some us. */
export function eventLoop(): Promise<void> {
  return new Promise((resume) => setImmediate(resume));
}
