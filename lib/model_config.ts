/**
 * What a LLaMA-family `config.json` says of a network, in one shape for all families.
 *
 *   llama      LLaMA 1, 2, 3.x, TinyLlama, SmolLM2
 *   mistral    sliding window
 *   qwen2      biases of q, k, v (Qwen2, Qwen2.5)
 *   qwen3      norms of each query and key head
 *   phi3       q, k, v in one tensor, gate and up in one
 *
 * A field that would change the arithmetic and is not known here is refused by name: running it
 * anyway would give plausible nonsense. A field that Hugging Face's code of that family does not look
 * at counts for nothing here either: Qwen2 has its biases whatever `attention_bias` says.
 *
 * @module
 */

import { join } from "node:path";
import type { Checkpoint } from "./checkpoint.ts";
import { quote } from "./strict_json.ts";
import { readOptional } from "./tokenizer_file.ts";

/** How positions turn queries and keys. */
export interface RopeConfig {
  readonly kind: "default" | "linear" | "llama3";
  readonly theta: number;
  /** Dimensions of a head that turn; the rest stay. */
  readonly rotaryDim: number;
  /** `linear` and `llama3`: how much longer wavelengths get. */
  readonly factor: number;
  readonly lowFrequencyFactor: number;
  readonly highFrequencyFactor: number;
  /** `llama3`: context of the original training. */
  readonly originalContext: number;
}

/** A network of the LLaMA family. */
export interface ModelConfig {
  readonly family: Family;
  readonly vocab: number;
  readonly dim: number;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly normEpsilon: number;
  readonly rope: RopeConfig;
  /** Positions that a token sees, itself included; null sees all. */
  readonly slidingWindow: number | null;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** Whether each query and key head has a norm. */
  readonly qkNorm: boolean;
  /** Whether q, k, v lie in one tensor, and gate and up in another. */
  readonly fused: boolean;
  /** Whether the embedding is the head as well. */
  readonly tied: boolean;
  /** Most positions. */
  readonly context: number;
  readonly bosToken: number | null;
  readonly eosTokens: readonly number[];
}

/** Values of `model_type`. */
export type Family = "llama" | "mistral" | "qwen2" | "qwen3" | "phi3";
const FAMILIES: readonly string[] = ["llama", "mistral", "qwen2", "qwen3", "phi3"];

type Json = Record<string, unknown>;

/** What a model is to be asked with; only its end-of-text tokens count here. */
const GENERATION = "generation_config.json";

/**
 * Reads a config.json that was parsed.
 *
 * @throws {RangeError} naming the field that is missing, of the wrong kind or not supported
 */
export function readModelConfig(config: Json): ModelConfig {
  const family = oneOf(config, "model_type", FAMILIES) as Family;
  refuseUnknown(config, family);
  const heads = count(config, "num_attention_heads");
  const kvHeads = count(config, "num_key_value_heads", heads);
  const dim = count(config, "hidden_size");
  const headDim = count(config, "head_dim", family === "qwen3" ? 128 : dim / heads);
  if (heads % kvHeads !== 0) fail("num_key_value_heads", `divide ${heads} heads`, kvHeads);
  if (headDim % 2 !== 0) fail("head_dim", "be even", headDim);
  const bias = family === "llama" || family === "qwen3" ? flag(config, "attention_bias") : false;
  const context = count(config, "max_position_embeddings", family === "llama" ? 2048 : undefined);
  return {
    family,
    vocab: count(config, "vocab_size"),
    dim,
    hidden: count(config, "intermediate_size"),
    layers: count(config, "num_hidden_layers"),
    heads,
    kvHeads,
    headDim,
    normEpsilon: positive(config, "rms_norm_eps", family === "phi3" ? 1e-5 : 1e-6),
    rope: readRope(config, headDim, context),
    slidingWindow: readWindow(config, family),
    qkvBias: family === "qwen2" || bias,
    outputBias: bias,
    mlpBias: family === "llama" && flag(config, "mlp_bias"),
    qkNorm: family === "qwen3",
    fused: family === "phi3",
    tied: flag(config, "tie_word_embeddings"),
    context,
    bosToken: tokens(config, "bos_token_id")[0] ?? null,
    eosTokens: tokens(config, "eos_token_id"),
  };
}

/**
 * The config of an opened checkpoint. Instruct models list in generation_config.json tokens that end
 * a turn and that config.json does not know, such as LLaMA-3's: they end a text too.
 *
 * @throws {Error} where there is no config.json; and as {@linkcode readModelConfig}
 */
export async function openModelConfig(checkpoint: Checkpoint): Promise<ModelConfig> {
  if (!checkpoint.config) {
    throw new Error(`Cannot run ${quote(checkpoint.path)} as it must hold a config.json: got none`);
  }
  const config = readModelConfig(checkpoint.config);
  const generation = await readOptional(join(checkpoint.folder, GENERATION));
  const more = tokens(generation, "eos_token_id", GENERATION);
  return { ...config, eosTokens: [...new Set([...config.eosTokens, ...more])] };
}

/** Refuses what would change the arithmetic. */
function refuseUnknown(config: Json, family: Family): void {
  refuse(config, "hidden_act", ["silu", "swish"]);
  if (family !== "phi3") refuse(config, "partial_rotary_factor", [1]);
  for (const field of ["embedding_multiplier", "residual_multiplier", "logits_scaling"]) {
    refuse(config, field, [1]);
  }
  for (const field of ["attn_logit_softcapping", "final_logit_softcapping"]) {
    refuse(config, field, []);
  }
  const { quant_method = "unnamed" } = object(config, "quantization_config");
  if (config.quantization_config && quant_method !== "afpq") {
    fail("quantization_config.quant_method", "be afpq", quant_method);
  }
}

/** Radians that each pair of dimensions turns a position, [rotaryDim / 2]. */
export function ropeFrequencies({ rope }: ModelConfig): Float64Array {
  const { kind, theta, rotaryDim, factor, originalContext } = rope;
  const { lowFrequencyFactor: low, highFrequencyFactor: high } = rope;
  return Float64Array.from({ length: rotaryDim / 2 }, (_, i) => {
    const frequency = theta ** (-2 * i / rotaryDim);
    if (kind === "default") return frequency;
    if (kind === "linear") return frequency / factor;
    const turns = originalContext * frequency / (2 * Math.PI); // over the original context
    if (turns < low) return frequency / factor;
    if (turns > high) return frequency;
    const smooth = (turns - low) / (high - low);
    return (1 - smooth) * frequency / factor + smooth * frequency;
  });
}

/** Cosine and sine of every position and pair of dimensions, [context, rotaryDim / 2, 2]. */
export function rotationTable(config: ModelConfig, context: number): Float32Array<ArrayBuffer> {
  const frequencies = ropeFrequencies(config);
  const table = new Float32Array(context * 2 * frequencies.length);
  for (let position = 0, at = 0; position < context; position++) {
    for (const frequency of frequencies) {
      table[at++] = Math.cos(position * frequency);
      table[at++] = Math.sin(position * frequency);
    }
  }
  return table;
}

/** `rope_scaling`, or as newer configs have it `rope_parameters` with theta and all. */
function readRope(config: Json, headDim: number, context: number): RopeConfig {
  const name = config.rope_scaling ? "rope_scaling" : "rope_parameters";
  const scaling = object(config, name);
  const nested = Object.entries(scaling).find(([, v]) =>
    typeof v === "object" && v !== null && !Array.isArray(v)
  );
  if (nested) fail(`${name}.${nested[0]}`, "be the same for all layers", nested[1]);
  const kind = scaling.rope_type ?? scaling.type ?? "default";
  if (kind !== "default" && kind !== "linear" && kind !== "llama3") {
    const field = scaling.rope_type ? "rope_type" : "type";
    fail(`${name}.${field}`, "be default, linear or llama3", kind);
  }
  const number = (field: string) => positive(scaling, field, undefined, `${name}.`);
  const either = (field: string, otherwise: number) =>
    positive(config, field, (scaling[field] ?? otherwise) as number);
  const rotaryDim = Math.floor(headDim * either("partial_rotary_factor", 1));
  if (rotaryDim % 2 !== 0 || rotaryDim > headDim || rotaryDim === 0) {
    fail("partial_rotary_factor", `leave an even part of ${headDim}`, rotaryDim);
  }
  const isLlama3 = kind === "llama3";
  return {
    kind: kind as RopeConfig["kind"],
    theta: either("rope_theta", 10000),
    rotaryDim,
    factor: kind === "default" ? 1 : number("factor"),
    lowFrequencyFactor: isLlama3 ? number("low_freq_factor") : 1,
    highFrequencyFactor: isLlama3 ? number("high_freq_factor") : 1,
    originalContext: isLlama3 ? number("original_max_position_embeddings") : context,
  };
}

/**
 * The sliding window where it is in force: of Mistral and Phi-3 for all layers. Qwen's configs have one
 * that is switched off; switched on it is for layers from `max_window_layers` on, which may be none.
 */
function readWindow(config: Json, family: Family): number | null {
  const has = family === "mistral" || family === "phi3";
  const { sliding_window: window, layer_types: types } = config;
  const own = has && (window ?? null) !== null ? "sliding_attention" : "full_attention";
  if (Array.isArray(types)) {
    const other = types.find((type) => type !== own);
    if (other !== undefined) fail("layer_types", `be ${own} throughout`, other);
  }
  if (has) return own === "full_attention" ? null : count(config, "sliding_window");
  if (family === "llama" || config.use_sliding_window !== true || !window) return null;
  const from = Number(config.max_window_layers ?? 0);
  if (from >= count(config, "num_hidden_layers")) return null;
  return fail("use_sliding_window", "be false", true);
}

function fail(field: string, rule: string, got: unknown, file = "config.json"): never {
  throw new RangeError(
    `Cannot run the model as ${file}'s ${field} must ${rule}: got ${JSON.stringify(got)}`,
  );
}

function positive(config: Json, field: string, otherwise?: number, prefix = ""): number {
  const value = config[field] ?? otherwise;
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  return fail(prefix + field, "be a positive number", value ?? null);
}

function count(config: Json, field: string, otherwise?: number): number {
  const value = config[field] ?? otherwise;
  if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
  return fail(field, "be a positive integer", value ?? null);
}

function flag(config: Json, field: string): boolean {
  const value = config[field] ?? false;
  return typeof value === "boolean" ? value : fail(field, "be true or false", value);
}

function oneOf(config: Json, field: string, values: readonly unknown[]): unknown {
  const value = config[field] ?? null;
  return values.includes(value) ? value : fail(field, `be one of ${values.join(", ")}`, value);
}

/** Refuses a field that is there with any other value than these. */
function refuse(config: Json, field: string, values: readonly unknown[]): void {
  const value = config[field] ?? null;
  if (value === null || values.includes(value)) return;
  fail(field, values.length > 0 ? `be one of ${values.join(", ")}` : "be null", value);
}

/** A field that is an object; an empty one where it is not there. */
function object(config: Json, field: string): Json {
  const value = config[field] ?? {};
  if (typeof value === "object" && !Array.isArray(value)) return value as Json;
  return fail(field, "be an object", value);
}

/** One token id or several. */
function tokens(config: Json, field: string, file = "config.json"): number[] {
  const ids = [config[field] ?? []].flat();
  if (ids.every((id) => Number.isSafeInteger(id) && (id as number) >= 0)) return ids as number[];
  return fail(field, "be token ids", config[field], file);
}
