/**
 * A product that is prepared once and submitted as often as wanted, between buffers that stay on the
 * device: what linear.ts runs on the spot, for callers who time it or chain it.
 *
 * @module
 */

import type { Device } from "./device.ts";
import { type Dispatch, upload } from "./launch.ts";
import { padTokens } from "./linear.ts";
import { UNIT, unitsPerRow } from "./pack.ts";
import { createRooms, launchesOf, prepareAll, stepOf } from "./product.ts";
import { type Loaded, UNIFORM } from "./resident.ts";
import type { ProductKind } from "./tiling.ts";

/** Where a product reads and writes. */
export interface ProductBuffers {
  readonly tokens: number;
  /** [tokens, units x 32], rows padded with zeros, as {@linkcode uploadTokens} leaves them */
  readonly x: GPUBuffer;
  /** [tokens, rows] */
  readonly y: GPUBuffer;
  /** [rows] */
  readonly bias?: GPUBuffer;
}

/** A product that can be submitted as often as wanted, until `free()`. */
export interface PreparedProduct {
  readonly dispatches: readonly Dispatch[];
  free(): void;
}

/** Prepares Y = X W^T + b on the device: by the kernels for one or two tokens, or for many. */
export async function prepareProduct(
  device: Device,
  kind: ProductKind,
  { matrix, slices }: Loaded,
  { tokens, x, y, bias }: ProductBuffers,
): Promise<PreparedProduct> {
  const gpu = device.gpu!;
  const step = await upload(gpu, stepOf(tokens), UNIFORM);
  const unused = await upload(gpu, new Float32Array(4));
  const { room, free } = createRooms(gpu);
  const launches = slices.flatMap((slice) =>
    launchesOf(device, {
      kind,
      slice,
      tokens,
      x,
      y,
      outRows: matrix.rows,
      bias: bias ?? null,
      unused,
      step,
      room,
    })
  );
  const dispatches = await prepareAll(gpu, launches);
  return {
    dispatches,
    free() {
      for (const buffer of [step, unused]) buffer.destroy();
      free();
    },
  };
}

/** Activations [tokens, cols] on the device, rows padded for the kernels. */
export function uploadTokens(
  { gpu }: Device,
  x: Float32Array,
  tokens: number,
  cols: number,
): Promise<GPUBuffer> {
  return upload(gpu!, padTokens(x, tokens, cols, UNIT * unitsPerRow(cols)));
}
