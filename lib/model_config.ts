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
 * anyway would give plausible nonsense.
 *
 * @module
 */

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

/**
 * Reads a config.json that was parsed.
 *
 * @throws {RangeError} naming the field that is missing, of the wrong kind or not supported
 */
export function readModelConfig(config: Json): ModelConfig {
  const family = oneOf(config, "model_type", FAMILIES) as Family;
  refuse(config, "hidden_act", ["silu", "swish"]);
  refuse(config, "pretraining_tp", [1]);
  refuse(config, "partial_rotary_factor", family === "phi3" ? undefined : [1]);
  const heads = count(config, "num_attention_heads");
  const kvHeads = count(config, "num_key_value_heads", heads);
  const dim = count(config, "hidden_size");
  const headDim = count(config, "head_dim", dim / heads);
  if (heads % kvHeads !== 0) fail("num_key_value_heads", `divide ${heads} heads`, kvHeads);
  if (headDim % 2 !== 0) fail("head_dim", "be even", headDim);
  const bias = flag(config, "attention_bias", family === "qwen2");
  const context = count(config, "max_position_embeddings");
  return {
    family,
    vocab: count(config, "vocab_size"),
    dim,
    hidden: count(config, "intermediate_size"),
    layers: count(config, "num_hidden_layers"),
    heads,
    kvHeads,
    headDim,
    normEpsilon: positive(config, "rms_norm_eps", 1e-6),
    rope: readRope(config, headDim, context),
    slidingWindow: readWindow(config, family),
    qkvBias: bias,
    outputBias: family === "qwen2" ? false : bias,
    mlpBias: flag(config, "mlp_bias", false),
    qkNorm: family === "qwen3",
    fused: family === "phi3",
    tied: flag(config, "tie_word_embeddings", false),
    context,
    bosToken: tokens(config, "bos_token_id")[0] ?? null,
    eosTokens: tokens(config, "eos_token_id"),
  };
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

function readRope(config: Json, headDim: number, context: number): RopeConfig {
  const scaling = (config.rope_scaling ?? config.rope_parameters ?? {}) as Json;
  if (typeof scaling !== "object") fail("rope_scaling", "be an object", scaling);
  const kind = scaling.rope_type ?? scaling.type ?? "default";
  if (kind !== "default" && kind !== "linear" && kind !== "llama3") {
    fail("rope_scaling.rope_type", "be default, linear or llama3", kind);
  }
  const number = (name: string, otherwise?: number) =>
    positive(scaling, name, otherwise, "rope_scaling.");
  const theta = positive({ ...scaling, ...config }, "rope_theta", 10000);
  const rotaryDim = headDim * positive(config, "partial_rotary_factor", 1);
  if (rotaryDim % 2 !== 0 || rotaryDim > headDim) {
    fail("partial_rotary_factor", `leave an even part of ${headDim}`, rotaryDim);
  }
  const isLlama3 = kind === "llama3";
  return {
    kind: kind as RopeConfig["kind"],
    theta,
    rotaryDim,
    factor: kind === "default" ? 1 : number("factor"),
    lowFrequencyFactor: isLlama3 ? number("low_freq_factor") : 1,
    highFrequencyFactor: isLlama3 ? number("high_freq_factor") : 1,
    originalContext: isLlama3 ? number("original_max_position_embeddings") : context,
  };
}

/** The sliding window where it is in force: Qwen has one in its config that is switched off. */
function readWindow(config: Json, family: Family): number | null {
  const window = config.sliding_window;
  if (window === undefined || window === null || family === "llama") return null;
  if (family.startsWith("qwen") && config.use_sliding_window !== true) return null;
  if (family.startsWith("qwen")) fail("use_sliding_window", "be false", true);
  return count(config, "sliding_window");
}

function fail(field: string, rule: string, got: unknown): never {
  throw new RangeError(
    `Cannot run the model as config.json's ${field} must ${rule}: got ${JSON.stringify(got)}`,
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

function flag(config: Json, field: string, otherwise: boolean): boolean {
  const value = config[field] ?? otherwise;
  return typeof value === "boolean" ? value : fail(field, "be true or false", value);
}

function oneOf(config: Json, field: string, values: readonly unknown[]): unknown {
  const value = config[field] ?? null;
  return values.includes(value) ? value : fail(field, `be one of ${values.join(", ")}`, value);
}

/** Refuses a field that is there with any other value than these. */
function refuse(config: Json, field: string, values?: readonly unknown[]): void {
  const value = config[field];
  if (values === undefined || value === undefined || value === null) return;
  oneOf(config, field, values);
}

/** One token id or several. */
function tokens(config: Json, field: string): number[] {
  const ids = [config[field] ?? []].flat();
  if (ids.every((id) => Number.isSafeInteger(id) && (id as number) >= 0)) return ids as number[];
  return fail(field, "be token ids", config[field]);
}
