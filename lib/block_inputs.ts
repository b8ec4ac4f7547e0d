/**
 * What the linears of one block are given, over all windows of a calibration text: the hidden states
 * that earlier blocks left go in, second moments come out linear by linear, and at the end the hidden
 * states after the block. It stops before each linear, so that the linear may be replaced by what
 * it was quantised to, and what comes after it sees the inputs that it will see (true sequential).
 *
 *   H [cols, cols]   mean over tokens of x x^T
 *   largest [cols]   max over tokens of |x|
 *
 * In memory are the block, one H, and the windows' hidden states with what the next linear is given.
 * Here in plain TypeScript, in f64, the event loop turning after each window; block_inputs_gpu.ts
 * does the same on a GPU, in f32.
 *
 * @module
 */

import { type CpuWeight, createCpuOps } from "./cpu_ops.ts";
import { gram, largest } from "./gram_reference.ts";
import { type ModelConfig, rotationTable } from "./model_config.ts";
import { layerSteps, type LayerWeights, type LinearName } from "./ops.ts";
import { eventLoop } from "./waiting.ts";

/** What is known of the inputs of a linear. */
export interface InputMoments {
  readonly cols: number;
  readonly tokens: number;
  /** [cols, cols] */
  readonly h: Float64Array;
  /** [cols] */
  readonly largest: Float64Array;
}

/** A layer in host memory, whose parts may be replaced. */
export type HostLayer = { -readonly [K in keyof HostWeights]: HostWeights[K] };
type HostWeights = LayerWeights<CpuWeight, Float32Array>;

/** A block that runs over all windows, stopped before each linear. */
export interface Block {
  /** Inputs of a linear, of all of its layer as it is now; linears are asked for in their order. */
  moments(linear: LinearName): Promise<InputMoments>;
  /** Runs to the end: hidden states after the block, a window each. */
  finish(): Promise<Float32Array[]>;
}

/** Runs a block's windows of hidden states, [tokens, dim] each; they are not changed. */
export type StartBlock = (layer: HostLayer, windows: readonly Float32Array[]) => Promise<Block>;

/** Blocks in plain TypeScript. */
export function blocksOnCpu(config: ModelConfig, context: number): StartBlock {
  const row = config.kvHeads * config.headDim;
  const cache = {
    keys: new Float32Array(context * row),
    values: new Float32Array(context * row),
    f16: false,
  };
  const rotations = rotationTable(config, context);
  const ops = createCpuOps({ config, caches: [cache], rotations, ids: [], position: 0 });
  return (layer, windows) => {
    const hidden = windows.map((x) => x.slice());
    const runs = hidden.map((x) => layerSteps(ops, layer, 0, x));
    return Promise.resolve({
      async moments(linear: LinearName) {
        const inputs = [];
        for (const run of runs) {
          inputs.push(expectStep(run.next().value, linear));
          await eventLoop();
        }
        return await momentsOf(inputs, layer[linear].parts[0].cols);
      },
      async finish() {
        for (const run of runs) {
          for (const _ of run) await eventLoop();
          await eventLoop();
        }
        return hidden;
      },
    });
  };
}

function expectStep(step: { linear: LinearName; input: Float32Array } | void, linear: LinearName) {
  if (step?.linear === linear) return step.input;
  throw new Error(`Cannot collect inputs as linears come in order: got ${linear} out of it`);
}

/** Moments of inputs [tokens, cols], all windows of them. */
async function momentsOf(inputs: readonly Float32Array[], cols: number): Promise<InputMoments> {
  const h = new Float64Array(cols * cols), most = new Float64Array(cols);
  let tokens = 0;
  for (const x of inputs) {
    gram(h, x, cols);
    largest(most, x);
    tokens += x.length / cols;
    await eventLoop();
  }
  for (let i = 0; i < h.length; i++) h[i] /= tokens;
  return { cols, tokens, h, largest: most };
}
