/**
 * One WebGPU device and what went wrong on it.
 *
 * WebGPU reports errors late and elsewhere: to an error scope if one is open, else as an event; once a
 * device is lost everything on it seems to succeed. Here whatever is done to a device is `guarded`, by
 * scopes of all three kinds, and rejects with the first error; errors out of anyone's sight are kept as
 * faults for the next read-back; and a lost device rejects everything.
 *
 * Scopes open and close within one turn of the event loop, so that callers who run at the same time
 * never see each other's errors.
 *
 * @module
 */

import { eventLoop } from "./waiting.ts";

/** A device with its compiled kernels and what went wrong on it so far. */
export interface Gpu {
  readonly device: GPUDevice;
  /** WebGPU features, and traits: `octets` of device.ts; `halves`, `bytes`, `fragments` of arithmetic.ts. */
  readonly features: ReadonlySet<string>;
  /** Lanes of every subgroup; 0 where widths differ or are not known. */
  readonly subgroupSize: number;
  /** Lanes side by side that hand each other sums, as self_test.ts finds out: 1 where none do. */
  foldSize: number;
  /** Whether `unpack2x16float` keeps subnormal f16, as self_test.ts finds out. */
  f16Subnormals: boolean;
  /** Pipelines by code, then by name and constants. */
  readonly pipelines: Map<string, Map<string, Promise<GPUComputePipeline>>>;
  /** Tilings that tuning chose, by class of product: see tiling.ts. */
  readonly choices: Map<string, string>;
  /** Errors that nobody was told of yet. */
  readonly faults: Error[];
  /** Set once the device is gone: nothing on it means anything from then on. */
  lost: Error | null;
  /** Bytes written since the last submission, which alone frees their staging memory. */
  unsubmittedBytes: number;
}

/**
 * Takes charge of a device: listens for its errors and for its loss from now on. `traits` are added to
 * its features.
 */
export function createGpu(
  device: GPUDevice,
  traits: readonly string[] = [],
  subgroupSize = 0,
): Gpu {
  const gpu: Gpu = {
    device,
    features: new Set([...(device.features as unknown as Iterable<string>), ...traits]),
    subgroupSize,
    foldSize: 1,
    f16Subnormals: true,
    pipelines: new Map(),
    choices: new Map(),
    faults: [],
    lost: null,
    unsubmittedBytes: 0,
  };
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    const { message } = (event as GPUUncapturedErrorEvent).error;
    gpu.faults.push(new Error(`The GPU reported: ${firstLine(message)}`));
  });
  device.lost.then(({ reason, message }) => {
    gpu.lost ??= new Error(`The GPU device is gone (${reason}): ${firstLine(message)}`);
  });
  return gpu;
}

/** Innermost last. */
const SCOPES: readonly GPUErrorFilter[] = ["internal", "out-of-memory", "validation"];

/**
 * Does something on the device inside error scopes: resolves with its result, or rejects with the
 * first error of it, whether WebGPU reports it or the binding throws it.
 */
export async function guarded<T>(gpu: Gpu, what: string, act: () => T): Promise<T> {
  rejectIfLost(gpu);
  try {
    const { result, errors } = scoped(gpu.device, act);
    const error = await firstOf(errors);
    rejectIfLost(gpu);
    if (!error) return result;
    throw error;
  } catch (cause) {
    await eventLoop(); // the loss of the device may be due
    rejectIfLost(gpu);
    throw refusal(what, cause as Error);
  }
}

/**
 * The same for a caller that cannot wait: gives the result at once, throws what the binding throws, and
 * keeps what WebGPU reports as a fault.
 */
export function attempt<T>(gpu: Gpu, what: string, act: () => T): T {
  rejectIfLost(gpu);
  try {
    const { result, errors } = scoped(gpu.device, act);
    firstOf(errors).then((error) => error && gpu.faults.push(refusal(what, error)), () => {});
    return result;
  } catch (cause) {
    throw refusal(what, cause as Error);
  }
}

async function firstOf(errors: Promise<GPUError | null>[]): Promise<GPUError | null> {
  return (await Promise.all(errors)).find((error) => error !== null) ?? null;
}

/** `Cannot WHAT: why`, in one line. */
export function refusal(what: string, cause: { message: string }): Error {
  return new Error(`Cannot ${what}: ${firstLine(cause.message)}`, { cause });
}

function scoped<T>(
  device: GPUDevice,
  act: () => T,
): { result: T; errors: Promise<GPUError | null>[] } {
  const errors: Promise<GPUError | null>[] = [];
  for (const scope of SCOPES) device.pushErrorScope(scope);
  try {
    return { result: act(), errors };
  } finally {
    for (const _ of SCOPES) errors.push(device.popErrorScope());
  }
}

/** The first error that nobody was told of, which the later ones follow from. */
export function takeFault(gpu: Gpu): Error | undefined {
  return gpu.faults.splice(0)[0];
}

/** Throws if the device is gone. */
export function rejectIfLost({ lost }: Gpu): void {
  if (lost) throw lost;
}

/** The first line that is not empty. */
export function firstLine(text: string): string {
  return text.trim().split("\n", 1)[0];
}

/** Frees a device; everything on it rejects from now on. */
export function closeGpu(gpu: Gpu): void {
  gpu.lost ??= new Error("The device is closed");
  gpu.device.destroy();
}
