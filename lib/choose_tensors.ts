/**
 * Which tensors of a checkpoint are quantised.
 *
 *   one file       every rank-2 float tensor
 *   a folder       the decoder's linears: rank-2 float `*.weight` inside a numbered block
 *                  (`layers.3.`, `h.3.`, `blocks.3.`), but norms, embeddings, routers of mixtures;
 *                  never what lies outside the blocks (embeddings, head) or in an encoder. GPT-2
 *                  stores its linears [in, out] (`Conv1D`), so it has none here
 *   --include      in place of the default: matrices that a glob names
 *   --exclude      taken away from either
 *
 * A glob that names no tensor is an error, and so is one that names a matrix which cannot be
 * quantised: experts of rank 3, numbers that are no f32, f16 or bf16. Vectors (norms, biases) that
 * a wide glob names are carried over.
 *
 * @module
 */
import type { Checkpoint } from "./checkpoint.ts";
import { quantizedBy } from "./checkpoint_config.ts";
import type { FloatDtype } from "./float16.ts";
import { globMatcher } from "./glob.ts";
import { nearest } from "./nearest.ts";
import { isPacked } from "./packed_tensors.ts";
import type { Tensor } from "./safetensors.ts";
import { show } from "./safetensors_header.ts";
import { quote } from "./strict_json.ts";

/** Globs of tensor names. */
export interface Globs {
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
}

/** A tensor that will be quantised: W [rows, cols]. */
export interface ChosenTensor {
  readonly tensor: Tensor;
  readonly rows: number;
  readonly cols: number;
  readonly dtype: FloatDtype;
}

/**
 * The tensors to quantise, by name.
 *
 * @throws {RangeError} if a glob matches nothing, or nothing is left
 * @throws {TypeError} if a glob asks for what cannot be quantised
 */
export function chooseTensors(
  checkpoint: Checkpoint,
  { include = [], exclude = [] }: Globs = {},
): Map<string, ChosenTensor> {
  const all = [...checkpoint.tensors.values()];
  const excluded = matching(all, exclude);
  const wanted = include.length > 0
    ? [...matching(all, include)].filter((tensor) => !excluded.has(tensor))
    : all.filter((tensor) =>
      isMatrix(tensor) && !excluded.has(tensor) && byDefault(checkpoint)(tensor)
    );
  const chosen = wanted.filter(isCandidate).map(chosenTensor);
  if (chosen.length === 0) refuseNothing(checkpoint, include, wanted);
  return new Map(chosen.map((choice) => [choice.tensor.name, choice]));
}

/** Refuses a model that is quantised already, by us or by others. */
export function refuseQuantized({ path, config, files }: Checkpoint): void {
  const method = quantizedBy(config) ?? (files.some(isPacked) ? "afpq" : null);
  if (method === null) return;
  throw new Error(
    `Cannot quantise ${quote(path)} as it must not be quantised yet: got quantization_config of ${
      quote(method)
    }`,
  );
}

/** Whether a checkpoint is one file that was named itself. */
export function isSingleFile({ path, files }: Checkpoint): boolean {
  return files.length === 1 && files[0].path === path;
}

/** Tensors that any of the globs names; each glob must name one. */
function matching(all: readonly Tensor[], globs: readonly string[]): Set<Tensor> {
  return new Set(globs.flatMap((glob) => {
    const matches = globMatcher(glob);
    const named = all.filter(({ name }) => matches(name));
    if (named.length > 0) return named;
    const near = nearest(glob, all.slice(0, 2000).map(({ name }) => name));
    throw new RangeError(
      `Cannot choose tensors as ${quote(glob)} must match one: got none${
        near === undefined ? "" : `, the nearest name is ${quote(near)}`
      }`,
    );
  }));
}

function byDefault(checkpoint: Checkpoint): (tensor: Tensor) => boolean {
  if (isSingleFile(checkpoint)) return () => true;
  if (hasTransposedLinears(checkpoint)) return () => false;
  return ({ name }) => isDecoderLinear(name);
}

/** GPT-1 and GPT-2 keep `Conv1D` weights, [in, out]: their columns are not input features. */
function hasTransposedLinears({ config }: Checkpoint): boolean {
  return config?.model_type === "gpt2" || config?.model_type === "openai-gpt";
}

/** Whether a name is that of a linear layer in a numbered block of a decoder. */
export function isDecoderLinear(name: string): boolean {
  const block = /(?:^|\.)(?:layers?|h|blocks?)\.\d+\.(?:.*\.)?([^.]+)\.weight$/.exec(name);
  if (!block || /(?:^|[._])(?:encoder|vision|visual|audio|image|speech)/.test(name)) return false;
  return !/norm|^ln|embed|router|^gate$|shared_expert_gate|bias|lora_/i.test(block[1]);
}

function isMatrix({ dtype, shape }: Tensor): boolean {
  return shape.length === 2 && isFloat(dtype) && Number(shape[0]) * Number(shape[1]) > 0;
}

function isFloat(dtype: string): dtype is FloatDtype {
  return dtype === "F32" || dtype === "F16" || dtype === "BF16";
}

/** Refuses what cannot be quantised; false for what is carried over. */
function isCandidate(tensor: Tensor): boolean {
  const { name, dtype, shape } = tensor;
  if (shape.length < 2) return false;
  const fault = shape.length > 2
    ? [`its rank must be 2`, `rank ${shape.length}`]
    : !isFloat(dtype)
    ? ["its dtype must be F32, F16 or BF16", dtype]
    : !isMatrix(tensor)
    ? ["it must hold weights", "an empty tensor"]
    : null;
  if (!fault) return true;
  throw new TypeError(
    `Cannot quantise ${quote(name)} ${show(shape)} as ${fault[0]}: got ${fault[1]}`,
  );
}

function chosenTensor(tensor: Tensor): ChosenTensor {
  const [rows, cols] = tensor.shape.map(Number);
  return { tensor, rows, cols, dtype: tensor.dtype as FloatDtype };
}

function refuseNothing(
  checkpoint: Checkpoint,
  include: readonly string[],
  wanted: readonly Tensor[],
): never {
  const { name, shape } = wanted[0] ?? {};
  const got = name !== undefined
    ? `only vectors such as ${quote(name)} ${show(shape!)}`
    : include.length > 0
    ? "all of them excluded"
    : hasTransposedLinears(checkpoint)
    ? `a ${
      checkpoint.config!.model_type
    } model, whose linears lie transposed; --include names tensors to take as they lie`
    : isSingleFile(checkpoint)
    ? "none in this file"
    : "none by default; --include names them";
  throw new RangeError(
    `Cannot quantise ${quote(checkpoint.path)} as a ${
      isSingleFile(checkpoint) || include.length > 0 ? "rank-2 float tensor" : "decoder's linear"
    } must be there: got ${got}`,
  );
}
