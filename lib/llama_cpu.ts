/**
 * A LLaMA-family model in plain TypeScript: slow, exact, and everywhere.
 *
 * @module
 */

import { type CpuState, type CpuWeight, createCpuOps } from "./cpu_ops.ts";
import type { Device } from "./device.ts";
import type { Matrix } from "./linear_reference.ts";
import { type ModelConfig, rotationTable } from "./model_config.ts";
import { forward, type ModelWeights, type Ops } from "./ops.ts";
import type { WeightKeeper } from "./model.ts";
import { tokenLoss, top } from "./pointwise_reference.ts";
import type { ReadInto, Runner, RunnerOptions } from "./runner.ts";

/** Loads the weights into host memory. */
export async function loadOnCpu(
  _device: Device,
  config: ModelConfig,
  options: RunnerOptions,
  readInto: ReadInto,
): Promise<Runner> {
  return createCpuRunner(config, options, await readInto(hostKeeper));
}

/** Keeps weights in host memory, as they are stored. */
export const hostKeeper: WeightKeeper<CpuWeight, Float32Array> = {
  async matrix(sources, bias) {
    const parts = [];
    for (const source of sources) parts.push(await source.read());
    return { parts, bias };
  },
  vector: (values) => Promise.resolve(values),
};

type HostOps = Ops<Float32Array, CpuWeight, Float32Array>;

/** Runs weights in host memory; `change` may put other operations in the place of some. */
export function createCpuRunner(
  config: ModelConfig,
  { context, kvF16 }: RunnerOptions,
  weights: ModelWeights<CpuWeight, Float32Array>,
  change = (ops: HostOps): HostOps => ops,
): Runner {
  const weightBytes = bytesOf(weights);
  const row = config.kvHeads * config.headDim;
  const caches = Array.from({ length: config.layers }, () => ({
    keys: new Float32Array(context * row),
    values: new Float32Array(context * row),
    f16: kvF16,
  }));
  const rotations = rotationTable(config, context);
  const state: CpuState = { config, caches, rotations, ids: [], position: 0 };
  const ops = change(createCpuOps(state));
  const run = (ids: ArrayLike<number>, position: number, last: boolean) => {
    Object.assign(state, { ids, position });
    return forward(ops, weights, { last });
  };
  return {
    capacity: 256,
    stats: {
      weightBytes,
      dispatchesPerToken: 0,
      bytesPerToken: weightBytes,
      cacheBytesPerPosition: config.layers * 2 * row * 4,
    },
    last: (ids, position) => Promise.resolve(run(ids, position, true)),
    top(ids, position, k) {
      const logits = run(ids, position, true);
      const best = top(logits, k);
      return Promise.resolve({ ids: best, logits: Float32Array.from(best, (id) => logits[id]) });
    },
    all: (ids, position) => Promise.resolve(run(ids, position, false)),
    losses: (ids, targets, position) =>
      Promise.resolve(tokenLoss(run(ids, position, false), targets)),
    close() {},
  };
}

/** Bytes of all matrices; of a tied head once. */
function bytesOf({ embedding, layers, head }: ModelWeights<CpuWeight, Float32Array>): number {
  const linears = layers.flatMap(({ qkv, output, gateUp, down }) => [qkv, output, gateUp, down]);
  const all = new Set([embedding, ...linears, head]);
  return [...all].flatMap(({ parts }) => parts).reduce((sum, part) => sum + storedBytes(part), 0);
}

function storedBytes(matrix: Matrix): number {
  return "codes" in matrix
    ? matrix.codes.byteLength + matrix.scales.byteLength
    : matrix.bytes.byteLength;
}
