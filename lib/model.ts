/**
 * The weights of a LLaMA-family checkpoint, dense or quantised, by their Hugging Face names: read one
 * tensor at a time, checked against config.json, and handed to whoever keeps them, device or host.
 *
 * @module
 */

import type { Checkpoint } from "./checkpoint.ts";
import type { FloatDtype } from "./float16.ts";
import { widen } from "./float16.ts";
import { format as formatOf } from "./format.ts";
import type { DenseMatrix, Matrix } from "./linear_reference.ts";
import type { ModelConfig } from "./model_config.ts";
import type { LayerWeights, ModelWeights } from "./ops.ts";
import { type PackedTensor, packedTensors, readPacked } from "./packed_tensors.ts";
import { quantize } from "./quantizer.ts";
import { kindOf, type MatrixSource } from "./resident.ts";
import type { Tensor } from "./safetensors.ts";
import { show } from "./safetensors_header.ts";
import { quote } from "./strict_json.ts";

/** Where weights go: matrices stacked with their biases, and vectors. */
export interface WeightKeeper<W, V> {
  matrix(sources: readonly MatrixSource[], bias: Float32Array | null): Promise<W>;
  vector(values: Float32Array): Promise<V>;
}

/** Options of {@linkcode readWeights}. */
export interface ReadWeightsOptions {
  /** Format to quantise the head in, groups of 128; null keeps it as it is, dense or packed. */
  readonly head?: string | null;
  /** Told how many matrices are done. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
  readonly signal?: AbortSignal;
}

/**
 * Reads all weights of a model in the order in which they are used.
 *
 * @throws {RangeError} naming a bad weight, or a head that is to be quantised but is already
 */
export async function readWeights<W, V>(
  checkpoint: Checkpoint,
  config: ModelConfig,
  keeper: WeightKeeper<W, V>,
  options: ReadWeightsOptions = {},
): Promise<ModelWeights<W, V>> {
  const read = weightReader(checkpoint, config, keeper, options);
  const embedding = await read.embedding();
  const layers = [];
  for (let layer = 0; layer < config.layers; layer++) layers.push(await read.layer(layer));
  const norm = await read.norm();
  return { embedding, layers, norm, head: config.tied ? embedding : await read.head() };
}

/** Reads a model's weights part by part. */
export interface WeightReader<W, V> {
  embedding(): Promise<W>;
  layer(layer: number): Promise<LayerWeights<W, V>>;
  norm(): Promise<V>;
  head(): Promise<W>;
}

/** A reader of a checkpoint's weights, by their Hugging Face names. */
export function weightReader<W, V>(
  checkpoint: Checkpoint,
  config: ModelConfig,
  keeper: WeightKeeper<W, V>,
  { head = null, onProgress, signal }: ReadWeightsOptions = {},
): WeightReader<W, V> {
  const packed = new Map(
    checkpoint.files.flatMap(packedTensors).map((matrix) => [matrix.name, matrix]),
  );
  const reader = { checkpoint, packed };
  if (head !== null) refusePackedHead(reader, config, head);
  const { dim, vocab } = config;
  let done = 0;
  const parts: LayerParts<W, V> = {
    async matrix(names, rows, cols, biased = false) {
      signal?.throwIfAborted();
      onProgress?.(done++, 4 * config.layers + 2, names[0]);
      const sources = names.map((name, i) => matrixSource(reader, `${name}.weight`, rows[i], cols));
      const bias = biased ? await biases(reader, names, rows) : null;
      return await keeper.matrix(sources, bias);
    },
    vector: async (name, length) =>
      await keeper.vector(await readVector(reader, `${name}.weight`, length)),
  };
  return {
    embedding: () => embeddingOf(reader, config, keeper, head),
    layer: (layer) => readLayer(config, layer, parts),
    norm: () => parts.vector("model.norm", dim),
    head: () =>
      keeper.matrix([inFormat(matrixSource(reader, "lm_head.weight", vocab, dim), head)], null),
  };
}

/** Reads what layers are made of, by names without `.weight`. */
interface LayerParts<W, V> {
  matrix(names: string[], rows: number[], cols: number, biased?: boolean): Promise<W>;
  vector(name: string, length: number): Promise<V>;
}

async function readLayer<W, V>(
  config: ModelConfig,
  layer: number,
  { matrix, vector }: LayerParts<W, V>,
): Promise<LayerWeights<W, V>> {
  const { dim, hidden, heads, kvHeads, headDim } = config;
  const q = heads * headDim, kv = kvHeads * headDim;
  const at = `model.layers.${layer}`;
  const attention = (name: string) => `${at}.self_attn.${name}`;
  return {
    attentionNorm: await vector(`${at}.input_layernorm`, dim),
    qkv: config.fused ? await matrix([attention("qkv_proj")], [q + 2 * kv], dim) : await matrix(
      ["q_proj", "k_proj", "v_proj"].map(attention),
      [q, kv, kv],
      dim,
      config.qkvBias,
    ),
    headNorms: config.qkNorm
      ? {
        q: await vector(attention("q_norm"), headDim),
        k: await vector(attention("k_norm"), headDim),
      }
      : null,
    output: await matrix([attention("o_proj")], [dim], q, config.outputBias),
    mlpNorm: await vector(`${at}.post_attention_layernorm`, dim),
    gateUp: config.fused
      ? await matrix([`${at}.mlp.gate_up_proj`], [2 * hidden], dim)
      : await matrix(
        [`${at}.mlp.gate_proj`, `${at}.mlp.up_proj`],
        [hidden, hidden],
        dim,
        config.mlpBias,
      ),
    down: await matrix([`${at}.mlp.down_proj`], [dim], hidden, config.mlpBias),
  };
}

interface Reader {
  readonly checkpoint: Checkpoint;
  readonly packed: ReadonlyMap<string, PackedTensor>;
}

/** The embedding; quantised too where it is the head as well and the head is to be. */
async function embeddingOf<W, V>(
  reader: Reader,
  { tied, vocab, dim }: ModelConfig,
  keeper: WeightKeeper<W, V>,
  head: string | null,
): Promise<W> {
  const source = matrixSource(reader, "model.embed_tokens.weight", vocab, dim);
  return await keeper.matrix([inFormat(source, tied ? head : null)], null);
}

function refusePackedHead({ packed }: Reader, { tied }: ModelConfig, head: string): void {
  const name = tied ? "model.embed_tokens.weight" : "lm_head.weight";
  const got = packed.get(name)?.format.name;
  if (got === undefined) return;
  throw new RangeError(
    `Cannot quantise ${quote(name)} in ${head} as a head must not be packed already: got ${got}`,
  );
}

/** A dense source that is quantised as it is read. */
function inFormat(source: MatrixSource, name: string | null): MatrixSource {
  if (name === null) return source;
  const format = formatOf(name);
  return {
    ...source,
    kind: name,
    async read() {
      const matrix = await source.read();
      if ("codes" in matrix) return matrix;
      const { rows, cols, bytes, dtype } = matrix;
      return quantize(widen(bytes, dtype), { rows, cols, format, name: matrix.name });
    },
  };
}

/** A matrix of the checkpoint by its source name, packed or dense. */
function matrixSource(reader: Reader, name: string, rows: number, cols: number): MatrixSource {
  const matrix = reader.packed.get(name);
  if (matrix) {
    expectShape(name, [matrix.rows, matrix.cols], [rows, cols]);
    return { rows, cols, kind: kindOf(matrix), read: () => readPacked(matrix) };
  }
  const tensor = floatTensor(reader, name, [rows, cols]);
  return { rows, cols, kind: tensor.dtype, read: () => readDense(tensor, rows, cols) };
}

async function readDense(
  tensor: Tensor & { dtype: FloatDtype },
  rows: number,
  cols: number,
): Promise<Matrix> {
  const { name, dtype } = tensor;
  const bytes = await tensor.bytes();
  refuseNotFinite(name, bytes, dtype, cols);
  return { name, rows, cols, dtype, bytes } satisfies DenseMatrix;
}

async function readVector(reader: Reader, name: string, length: number): Promise<Float32Array> {
  const tensor = floatTensor(reader, name, [length]);
  const bytes = await tensor.bytes();
  refuseNotFinite(name, bytes, tensor.dtype, length);
  return widen(bytes, tensor.dtype);
}

/** Biases of stacked matrices, one after the other. */
async function biases(reader: Reader, names: string[], rows: number[]): Promise<Float32Array> {
  const all = new Float32Array(rows.reduce((a, b) => a + b, 0));
  let at = 0;
  for (const [i, name] of names.entries()) {
    all.set(await readVector(reader, `${name}.bias`, rows[i]), at);
    at += rows[i];
  }
  return all;
}

function floatTensor(
  { checkpoint }: Reader,
  name: string,
  shape: number[],
): Tensor & { dtype: FloatDtype } {
  const tensor = checkpoint.tensors.get(name);
  if (!tensor) {
    throw new Error(
      `Cannot run ${quote(checkpoint.path)} as tensor ${quote(name)} [${
        shape.join(", ")
      }] must be there: got none`,
    );
  }
  expectShape(name, tensor.shape, shape);
  if (tensor.dtype === "F32" || tensor.dtype === "F16" || tensor.dtype === "BF16") {
    return tensor as Tensor & { dtype: FloatDtype };
  }
  throw new TypeError(
    `Cannot run ${quote(name)} as its dtype must be a float: got ${tensor.dtype}`,
  );
}

function expectShape(name: string, got: readonly (number | bigint)[], wanted: number[]): void {
  if (show(got) === show(wanted)) return;
  throw new TypeError(
    `Cannot run ${quote(name)} ${show(got)} as config.json says it must be ${show(wanted)}: got ${
      show(got)
    }`,
  );
}

/** Refuses NaN and infinities by their exponent bits. */
function refuseNotFinite(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
  dtype: FloatDtype,
  cols: number,
): void {
  const exponent = { F32: 0x7f800000, F16: 0x7c00, BF16: 0x7f80 }[dtype];
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 ? bytes.slice() : bytes;
  const words = dtype === "F32"
    ? new Uint32Array(buffer, byteOffset, byteLength / 4)
    : new Uint16Array(buffer, byteOffset, byteLength / 2);
  for (let i = 0; i < words.length; i++) {
    if ((words[i] & exponent) !== exponent) continue;
    throw new RangeError(
      `Cannot run ${quote(name)} as weights must be finite: got NaN or infinity at [${
        Math.floor(i / cols)
      }, ${i % cols}]`,
    );
  }
}
