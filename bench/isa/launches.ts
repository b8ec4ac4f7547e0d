/**
 * Which kernels the library launches, and with which constants, on hardware that is not there: its own
 * products run on a device that notes every pipeline and computes nothing. So the table of costs has
 * what a GPU would be given, whatever chooses it.
 *
 * @module
 */

import type { Device } from "../../lib/device.ts";
import { createGpu } from "../../lib/gpu.ts";
import { denseMatmul, denseMatvec, matmul, matvec } from "../../lib/linear.ts";
import type { DenseMatrix } from "../../lib/linear_reference.ts";
import { codesShape, type Group, type QuantizedMatrix } from "../../lib/pack.ts";
import { scalesShape } from "../../lib/pack_scales.ts";
import { load, type Loaded } from "../../lib/resident.ts";
import { kindOf, tilingOf } from "../../lib/tiling.ts";
import { storedOf } from "../stored.ts";
import type { Source } from "./compile.ts";

/** A pipeline that the library wants, and the rows and tokens that a workgroup of it serves. */
export interface Launched extends Source {
  readonly kernel: string;
  readonly format: string;
  readonly batches: readonly number[];
  readonly rows: number;
  readonly tokens: number;
}

/** A product to be launched. */
export interface Product {
  readonly rows: number;
  readonly cols: number;
  readonly group: Group;
  /** A format of weights, or "f16", "bf16", "f32". */
  readonly format: string;
}

/** Features of the GPU, as Dawn names them. */
const FEATURES = ["subgroups"];

/** Pipelines for a product at some batches, each once. */
export async function launchesOf(
  product: Product,
  batches: readonly number[],
  features: readonly string[] = [],
): Promise<Launched[]> {
  const found = new Map<string, Launched>();
  for (const batch of batches) {
    for (const launched of await launch(product, batch, [...FEATURES, ...features])) {
      const key = launched.code + JSON.stringify(launched.constants);
      const { batches = [], tokens = 0 } = found.get(key) ?? {};
      const most = Math.max(tokens, launched.tokens);
      found.set(key, { ...launched, batches: [...batches, batch], tokens: most });
    }
  }
  return [...found.values()];
}

async function launch(product: Product, batch: number, features: string[]): Promise<Launched[]> {
  const noted: { label: string; source: Source }[] = [];
  const device = noting(features, (label, source) => noted.push({ label, source }));
  const matrix = matrixOf(product);
  const loaded = await load<DenseMatrix | QuantizedMatrix>(device, matrix);
  const x = new Float32Array(batch * product.cols);
  const kind = kindOf(batch);
  if ("codes" in matrix) {
    const w = loaded as Loaded<QuantizedMatrix>;
    await (kind === "matvec" ? matvec(device, w, x) : matmul(device, w, x, batch));
  } else {
    const w = loaded as Loaded<DenseMatrix>;
    await (kind === "matvec" ? denseMatvec(device, w, x) : denseMatmul(device, w, x, batch));
  }
  const { rows, tokens } = tilingOf(device, kind, loaded.slices[0], batch);
  const multiplying = noted.filter(({ label }) => label !== "join"); // which adds up parts, and no weights
  return multiplying.map(({ label, source }) => ({
    ...source,
    kernel: label,
    format: product.format,
    batches: [batch],
    rows,
    tokens: Math.min(batch, tokens),
  }));
}

/** A matrix of zeros. */
function matrixOf(
  { rows, cols, group: usual, format: name }: Product,
): DenseMatrix | QuantizedMatrix {
  const dtype = ({ f16: "F16", bf16: "BF16", f32: "F32" } as const)[name];
  const shape = { name: "", rows, cols };
  if (dtype) {
    return { ...shape, dtype, bytes: new Uint8Array(rows * cols * (dtype === "F32" ? 4 : 2)) };
  }
  const packed = { ...shape, ...storedOf(name, usual), scaleExponent: 0, underflows: 0 };
  const length = (lengths: readonly number[]) => lengths.reduce((a, b) => a * b, 1);
  return {
    ...packed,
    codes: new Uint32Array(length(codesShape(packed))),
    scales: packed.scaleFormat.bits < 16
      ? new Uint8Array(length(scalesShape(packed)))
      : new Uint16Array(length(scalesShape(packed))),
  };
}

/** A device that takes everything and does nothing but note what is compiled. */
function noting(features: string[], note: (label: string, source: Source) => void): Device {
  const done = () => Promise.resolve(null);
  const nothing = () => {};
  const buffer = ({ size }: { size: number }) => ({
    size,
    mapAsync: done,
    getMappedRange: () => new ArrayBuffer(size),
    unmap: nothing,
    destroy: nothing,
  });
  const pass = {
    setPipeline: nothing,
    setBindGroup: nothing,
    dispatchWorkgroups: nothing,
    end: nothing,
  };
  const device = {
    features: new Set(features),
    limits: LIMITS,
    adapterInfo: { vendor: "amd", subgroupMinSize: 32, subgroupMaxSize: 64 },
    lost: new Promise(nothing),
    addEventListener: nothing,
    pushErrorScope: nothing,
    popErrorScope: done,
    destroy: nothing,
    createBuffer: buffer,
    createBindGroup: () => ({}),
    createShaderModule: ({ code }: { code: string }) => ({ code }),
    createComputePipelineAsync({ label, compute }: Compute) {
      const { module: { code }, entryPoint, constants } = compute;
      note(label, { code, entry: entryPoint, constants });
      return Promise.resolve({ getBindGroupLayout: () => ({}) });
    },
    createCommandEncoder: () => ({
      beginComputePass: () => pass,
      copyBufferToBuffer: nothing,
      clearBuffer: nothing,
      finish: () => ({}),
    }),
    queue: { writeBuffer: nothing, submit: nothing, onSubmittedWorkDone: done },
  };
  const gpu = createGpu(device as unknown as GPUDevice);
  gpu.foldSize = device.adapterInfo.subgroupMinSize;
  const named = { binding: "webgpu", adapter: "none", backend: "vulkan" } as const;
  return {
    ...named,
    software: false,
    fast: false,
    accuracy: "exact",
    matrixUnits: false,
    gpu,
    close: nothing,
  };
}

interface Compute {
  label: string;
  compute: { module: { code: string }; entryPoint: string; constants: Record<string, number> };
}

/** What AMD's GPUs allow through Dawn, as far as the library asks. */
const LIMITS = {
  maxBufferSize: 2 ** 32 - 4,
  maxStorageBufferBindingSize: 2 ** 32 - 4,
  maxUniformBufferBindingSize: 2 ** 16,
  maxStorageBuffersPerShaderStage: 16,
  maxComputeWorkgroupsPerDimension: 65535,
  maxComputeWorkgroupStorageSize: 32768,
  maxComputeInvocationsPerWorkgroup: 1024,
  maxComputeWorkgroupSizeX: 1024,
};
