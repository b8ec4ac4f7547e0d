/**
 * Chains of products by this toolkit's kernels, on the device that is open: activations stay there
 * between two products.
 *
 * @module
 */
import type { Device } from "../lib/device.ts";
import { narrow, widen } from "../lib/float16.ts";
import { type Dispatch, download, empty, submit, write } from "../lib/launch.ts";
import { load } from "../lib/linear.ts";
import type { Matrix } from "../lib/linear_reference.ts";
import { bitsPerWeight, type Group, UNIT } from "../lib/pack.ts";
import { prepareProduct } from "../lib/prepared_product.ts";
import { dequantize, quantize } from "../lib/quantizer.ts";
import { kindOf } from "../lib/tiling.ts";
import { type Chain, type ChainShape, type ChainWeights, once, type Peer } from "./chain.ts";

/** What weights are stored as: formats with their groups, and dense f16. */
const FORMATS: readonly { format: string; group: Group }[] = [
  { format: "fp4-asym", group: 128 },
  { format: "nf4-asym", group: 128 },
  { format: "int4-sym", group: 32 },
  { format: "nf3-asym", group: 128 },
  { format: "f16", group: "row" },
];

/** What this toolkit does on a device. */
export function ownPeers(device: Device): Peer[] {
  return FORMATS.map(({ format, group }) => ({
    by: "afpq",
    on: "WebGPU",
    format: format === "f16" ? format : `${format} g${group}`,
    make: (shape, weights) => ownChain(device, shape, weights, { format, group }),
  }));
}

async function ownChain(
  device: Device,
  { rows, cols, tokens, pairs }: ChainShape,
  weights: ChainWeights,
  stored: { format: string; group: Group },
): Promise<Chain> {
  if (rows % UNIT + cols % UNIT > 0) {
    throw new RangeError(`Cannot chain [${rows}, ${cols}] as both must be multiples of ${UNIT}`);
  }
  const gpu = device.gpu!;
  const up = matrixOf(weights.up, rows, cols, stored);
  const down = matrixOf(weights.down, cols, rows, stored);
  const x = empty(gpu, 4 * tokens * cols), hidden = empty(gpu, 4 * tokens * rows);
  const parts: { free(): void }[] = [{ free: () => [x, hidden].forEach((one) => one.destroy()) }];
  const free = () => parts.forEach((part) => part.free());
  const kind = kindOf(tokens);
  const add = async (matrix: Matrix, from: GPUBuffer, to: GPUBuffer) => {
    const loaded = await load(device, matrix);
    parts.push(loaded);
    const product = await prepareProduct(device, kind, loaded, { tokens, x: from, y: to });
    parts.push(product);
    return product.dispatches;
  };
  try {
    const dispatches: Dispatch[] = [];
    for (let pair = 0; pair < pairs; pair++) {
      dispatches.push(...await add(up, x, hidden), ...await add(down, hidden, x));
    }
    return {
      bitsPerWeight: "codes" in up ? bitsPerWeight(up) : 16,
      weights: () => ({ up: valuesOf(up), down: valuesOf(down) }),
      async run(values) {
        await write(gpu, x, 0, values);
        await submit(gpu, dispatches);
        return await download(gpu, x);
      },
      free,
    };
  } catch (error) {
    free();
    throw error;
  }
}

function matrixOf(
  w: Float32Array<ArrayBuffer>,
  rows: number,
  cols: number,
  { format, group }: { format: string; group: Group },
): Matrix {
  if (format === "f16") {
    const bytes = once(w, "F16", () => narrow(w, "F16"));
    return { name: format, rows, cols, dtype: "F16", bytes };
  }
  return once(w, `${format} g${group}`, () => quantize(w, { rows, cols, format, group }));
}

function valuesOf(matrix: Matrix): Float32Array<ArrayBuffer> {
  return "codes" in matrix ? dequantize(matrix) : widen(matrix.bytes, matrix.dtype);
}
