/**
 * Buffers of the device that products are timed on: activations, outputs, and copies of weights.
 *
 * @module
 */
import type { Device } from "../lib/device.ts";
import { allocate, type Dispatch, empty, type Gpu } from "../lib/launch.ts";
import { uploadTokens } from "../lib/prepared_product.ts";
import { activations } from "./made_matrices.ts";
import type { Shape } from "./shapes.ts";

/** Activations and outputs of one product. */
export interface Buffers {
  readonly tokens: number;
  readonly values: Float32Array<ArrayBuffer>;
  readonly x: GPUBuffer;
  readonly y: GPUBuffer;
}

/** Products with copies of one matrix, until `free()`. */
export interface Placed {
  /** By copy, the dispatches of one product. */
  readonly products: readonly (readonly Dispatch[])[];
  free(): void;
}

/** Bytes of weights that runs go round: more than the last-level caches of all but the largest GPUs. */
export function workingSetOf({ software }: Device): number {
  return (software ? 64 : 256) * 2 ** 20;
}

/** Activations and outputs for each of some shapes. */
export function makeBuffers(
  device: Device,
  { shapes, batch }: { shapes: readonly Shape[]; batch: number },
): Promise<Buffers[]> {
  return Promise.all(shapes.map(async ({ rows, cols }) => {
    const values = activations(batch * cols);
    const x = await uploadTokens(device, values, batch, cols);
    return { tokens: batch, values, x, y: empty(device.gpu!, 4 * batch * rows) };
  }));
}

/** Frees activations and outputs. */
export function freeBuffers(buffers: readonly Buffers[]): void {
  for (const { x, y } of buffers) for (const buffer of [x, y]) buffer.destroy();
}

/** A copy of a storage buffer. */
export async function copyBuffer(
  gpu: Gpu,
  buffer: GPUBuffer,
): Promise<GPUBuffer> {
  const copy = await allocate(gpu, buffer.size);
  const encoder = gpu.device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, copy, 0, buffer.size);
  gpu.device.queue.submit([encoder.finish()]);
  return copy;
}
