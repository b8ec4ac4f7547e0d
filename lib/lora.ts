/**
 * QLoRA: low-rank adapters (arXiv 2106.09685) on the linears of a frozen AFPQ base, trained to predict
 * the next token of a text.
 *
 *   y = W' x + (alpha / rank) B (A x)     W' as quantised, its scales of 8 bits; A from a normal
 *                                         distribution, B = 0: before the first step nothing differs
 *   loss = mean over a window of -log p(token | tokens before it)
 *   step by Adam (0.9, 0.999, no decay)
 *
 * In f64 on the host: for small models, and for finding out what a base is worth. Adapters are saved
 * as PEFT does, so that other tools put them on the dense model.
 *
 * @module
 */

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { weightsOf } from "./calibrate.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { CpuWeight } from "./cpu_ops.ts";
import { doubleQuantized } from "./double_quantization.ts";
import { hostKeeper } from "./llama_cpu.ts";
import { type ModelConfig, rotationTable } from "./model_config.ts";
import { readWeights } from "./model.ts";
import { forward, linearNames, type ModelWeights } from "./ops.ts";
import { writeSafetensors } from "./safetensors_writer.ts";
import { createRandom } from "./sampling.ts";
import { type Adapter, createTape, type TapeWeight } from "./tape_ops.ts";

/** Adapters: their rank, how strong they are, and where. */
export interface LoraOptions {
  readonly rank: number;
  /** Strength: adapters count alpha / rank. */
  readonly alpha: number;
  /** Endings of the linears that get one, such as `q_proj`. */
  readonly targets: readonly string[];
  readonly seed?: number;
}

/** A frozen base with adapters by the name of their matrix. */
export interface LoraModel {
  readonly config: ModelConfig;
  readonly options: LoraOptions;
  readonly weights: ModelWeights<TapeWeight, Float32Array>;
  readonly adapters: ReadonlyMap<string, Adapter>;
  /** Bits a weight of the quantised matrices, scales in 8 bits. */
  readonly bitsPerWeight: number;
}

/** Loads a checkpoint onto the host, quantised matrices doubly so, with new adapters. */
export async function loadLora(
  checkpoint: Checkpoint,
  config: ModelConfig,
  options: LoraOptions,
): Promise<LoraModel> {
  const host = await readWeights(checkpoint, config, hostKeeper);
  const adapters = new Map<string, Adapter>();
  const random = createRandom(options.seed ?? 1);
  let bits = 0, count = 0;
  const onTape = ({ parts, bias }: CpuWeight): TapeWeight => {
    const cols = parts[0].cols, own: Adapter[] = [];
    const rows = parts.reduce((sum, part) => sum + part.rows, 0);
    const w = new Float32Array(rows * cols);
    let firstRow = 0;
    for (const part of parts) {
      const small = "codes" in part ? doubleQuantized(part) : null;
      if (small) {
        [bits, count] = [bits + small.bitsPerWeight * part.rows * cols, count + part.rows * cols];
      }
      w.set(weightsOf(small?.matrix ?? part), firstRow * cols);
      if (options.targets.some((target) => part.name.endsWith(`.${target}.weight`))) {
        const adapter = newAdapter(part.rows, cols, firstRow, options, random);
        adapters.set(part.name, adapter);
        own.push(adapter);
      }
      firstRow += part.rows;
    }
    return { rows, cols, w, bias, adapters: own };
  };
  const layers = host.layers.map((layer) => ({
    ...layer,
    ...Object.fromEntries(linearNames.map((linear) => [linear, onTape(layer[linear])])),
  })) as unknown as ModelWeights<TapeWeight, Float32Array>["layers"];
  const embedding = onTape(host.embedding);
  const head = config.tied ? embedding : onTape(host.head);
  const weights = { embedding, layers, norm: host.norm, head };
  if (adapters.size === 0) {
    throw new RangeError(
      `Cannot train adapters as targets must name linears: got ${
        options.targets.join(", ") || "none"
      }`,
    );
  }
  return { config, options, weights, adapters, bitsPerWeight: count === 0 ? 32 : bits / count };
}

function newAdapter(
  rows: number,
  cols: number,
  firstRow: number,
  { rank, alpha }: LoraOptions,
  random: () => number,
): Adapter {
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return {
    ...{ firstRow, rows, rank, scale: alpha / rank },
    a: Float64Array.from({ length: rank * cols }, () => normal() / Math.sqrt(cols)),
    b: new Float64Array(rows * rank),
    gradA: new Float64Array(rank * cols),
    gradB: new Float64Array(rows * rank),
  };
}

/** Mean loss of a window; gradients of the adapters are added to what they are. */
export function lossOf(
  { config, weights }: LoraModel,
  ids: ArrayLike<number>,
  options: { backward: boolean },
): number {
  const inputs = Array.from(ids).slice(0, -1);
  const tape = createTape(config, rotationTable(config, inputs.length), inputs);
  const logits = forward(tape.ops, weights, { last: false });
  const { vocab } = config;
  let loss = 0;
  for (let t = 0; t < inputs.length; t++) {
    const row = logits.value.subarray(t * vocab, (t + 1) * vocab);
    const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const total = row.reduce((sum, logit) => sum + Math.exp(logit - top), 0);
    loss += (Math.log(total) + top - row[ids[t + 1]]) / inputs.length;
    row.forEach((logit, i) => {
      const share = Math.exp(logit - top) / total - +(i === ids[t + 1]);
      logits.grad[t * vocab + i] = share / inputs.length;
    });
  }
  if (options.backward) tape.backward();
  return loss;
}

/** Takes a step over some windows; gives their mean loss before it. */
export type TrainStep = (windows: readonly ArrayLike<number>[]) => number;

/** A function that trains the adapters of a model, a step a call. */
export function createTrainer(model: LoraModel, { rate }: { rate: number }): TrainStep {
  const numbers = [...model.adapters.values()].flatMap(({ a, b, gradA, gradB }) => [
    { own: a, grad: gradA, mean: new Float64Array(a.length), square: new Float64Array(a.length) },
    { own: b, grad: gradB, mean: new Float64Array(b.length), square: new Float64Array(b.length) },
  ]);
  let [first, second] = [1, 1]; // 0.9 and 0.999 to the power of the step
  return (windows) => {
    for (const { grad } of numbers) grad.fill(0);
    const loss = windows.reduce((sum, ids) => sum + lossOf(model, ids, { backward: true }), 0);
    [first, second] = [first * 0.9, second * 0.999];
    for (const { own, grad, mean, square } of numbers) {
      for (let i = 0; i < own.length; i++) {
        const slope = grad[i] / windows.length;
        mean[i] = 0.9 * mean[i] + 0.1 * slope;
        square[i] = 0.999 * square[i] + 0.001 * slope * slope;
        own[i] -= rate * mean[i] / (1 - first) / (Math.sqrt(square[i] / (1 - second)) + 1e-8);
      }
    }
    return loss / windows.length;
  };
}

/** Writes adapters into a folder as PEFT reads them: f32, and a config that names the base. */
export async function saveAdapters(
  { adapters, options: { rank, alpha, targets } }: LoraModel,
  folder: string,
  base: string,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const tensors = [...adapters].flatMap(([name, { a, b, rows }]) => {
    const stem = `base_model.model.${name.replace(/\.weight$/, "")}`;
    const tensor = (part: string, shape: number[], values: Float64Array) => ({
      name: `${stem}.${part}.weight`,
      dtype: "F32" as const,
      shape,
      bytes: () => new Uint8Array(Float32Array.from(values).buffer),
    });
    return [tensor("lora_A", [rank, a.length / rank], a), tensor("lora_B", [rows, rank], b)];
  });
  const metadata = { format: "pt" };
  await writeSafetensors(join(folder, "adapter_model.safetensors"), tensors, { metadata });
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: base,
    r: rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    target_modules: targets,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
  };
  await writeFile(join(folder, "adapter_config.json"), `${JSON.stringify(config, null, 2)}\n`);
}
