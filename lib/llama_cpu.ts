/**
 * A LLaMA-family model in plain TypeScript: slow, exact, and everywhere. The event loop turns before
 * each linear, so that signals get through; runs may overlap as far as their positions may.
 *
 * @module
 */

import { type CpuWeight, createCpuOps } from "./cpu_ops.ts";
import type { Device } from "./device.ts";
import type { Matrix } from "./linear_reference.ts";
import { type ModelConfig, rotationTable } from "./model_config.ts";
import { forwardSteps, type ModelWeights, type Ops } from "./ops.ts";
import type { WeightKeeper } from "./model.ts";
import { tokenLoss, top } from "./pointwise_reference.ts";
import type { ReadInto, Runner, RunnerOptions } from "./runner.ts";
import { eventLoop } from "./waiting.ts";

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
  const cacheBytesPerPosition = config.layers * 2 * config.kvHeads * config.headDim * 4;
  const positions = emptyPositions(config, context, kvF16, cacheBytesPerPosition);
  const run = async (ids: ArrayLike<number>, position: number, last: boolean) => {
    const ops = change(createCpuOps({ config, ...positions, ids, position }));
    const steps = forwardSteps(ops, weights, { last });
    while (true) {
      const { done, value } = steps.next();
      if (done) return value;
      await eventLoop();
    }
  };
  return {
    capacity: 256,
    stats: {
      weightBytes,
      dispatchesPerToken: 0,
      bytesPerToken: weightBytes,
      cacheBytesPerPosition,
    },
    last: (ids, position) => run(ids, position, true),
    async top(ids, position, k) {
      const logits = await run(ids, position, true);
      const best = top(logits, k);
      return { ids: best, logits: Float32Array.from(best, (id) => logits[id]) };
    },
    all: (ids, position) => run(ids, position, false),
    losses: async (ids, targets, position) => tokenLoss(await run(ids, position, false), targets),
    close() {},
  };
}

/** Room for keys and values of each position, and its rotations. */
function emptyPositions(config: ModelConfig, context: number, f16: boolean, bytes: number) {
  const row = config.kvHeads * config.headDim;
  try {
    const caches = Array.from({ length: config.layers }, () => ({
      keys: new Float32Array(context * row),
      values: new Float32Array(context * row),
      f16,
    }));
    return { caches, rotations: rotationTable(config, context) };
  } catch (cause) {
    throw new RangeError(
      `Cannot run the model as keys and values of ${context} tokens must fit memory: ` +
        `got ${context * bytes} bytes`,
      { cause },
    );
  }
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
