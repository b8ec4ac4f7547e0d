/**
 * Quantises a checkpoint into a folder: one matrix in memory at a time, source file by source file,
 * and nothing at the folder's name before all of it is there.
 *
 *   OUT/model*.safetensors   files by the source's names, chosen matrices packed, all else as it was
 *   OUT/config.json          the source's text with `quantization_config` put in
 *   OUT/...                  tokenizer and other small files, as they were
 *   OUT/afpq.json            hashes of all that, and each matrix' error; written last
 *
 * The same source and options give the same bytes, on every runtime.
 *
 * @module
 */
import { join } from "node:path";
import { carriedFiles, carryFiles, configText, INDEX_NAME } from "./carry_over.ts";
import { indexText, outputName, writeTexts } from "./carry_over.ts";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import { addQuantizationConfig, type QuantizationConfig } from "./checkpoint_config.ts";
import { chooseRecipes, type RecipeOptions } from "./choose_recipes.ts";
import { chooseTensors, type ChosenTensor, type Globs, refuseQuantized } from "./choose_tensors.ts";
import { widen } from "./float16.ts";
import { type Format, format as formatOf } from "./format.ts";
import type { Hashed } from "./hashed_file.ts";
import { MANIFEST_NAME, MANIFEST_VERSION, manifestText } from "./manifest.ts";
import type { TensorRecord, TensorReport } from "./manifest.ts";
import { checkOutput, createOutput, type OutputOptions } from "./output_folder.ts";
import { expectGroup, type Group, LAYOUT_VERSION } from "./pack.ts";
import type { PackedShape, QuantizedMatrix } from "./pack.ts";
import { packedBytes, storedBits } from "./pack_scales.ts";
import { metadataRoom, type PackedFacts } from "./packed_tensors.ts";
import { packedMetadata, packedNames, packedSources } from "./packed_tensors.ts";
import { nmseOf, type QuantizationError, quantizationError } from "./quantization_error.ts";
import { sumErrors } from "./quantization_error.ts";
import { quantize } from "./quantizer.ts";
import { type Recipe, recipeShape } from "./recipe.ts";
import type { SafetensorsFile, Tensor } from "./safetensors.ts";
import { type TensorSource, type WriteOptions, writeSafetensors } from "./safetensors_writer.ts";
import { quote } from "./strict_json.ts";

/** How to quantise a checkpoint. */
export interface QuantizeCheckpointOptions
  extends Globs, Pick<RecipeOptions, "scales" | "clip" | "codebook" | "bits"> {
  /** A format or its name, nf4-asym unless told. */
  readonly format?: Format | string;
  /** Columns that share scales, 128 unless told. */
  readonly group?: Group;
  /** Replace a folder of files that stands at `out`. */
  readonly force?: boolean;
  /** What is quantised or changed already, and only to be written. */
  readonly prepared?: PreparedTensors;
  /** Say what would be done, and write nothing. */
  readonly dryRun?: boolean;
  /** Stops the work and removes what was written. */
  readonly signal?: AbortSignal;
  /** Told how many source bytes are done, and what comes next. */
  readonly onProgress?: (doneBytes: number, totalBytes: number, what: string) => void;
  readonly log?: (line: string) => void;
}

/** Tensors that calibration made, by source name; read when their turn comes. */
export interface PreparedTensors {
  readonly matrices: ReadonlyMap<string, PreparedMatrix>;
  /** What they are quantised as. */
  readonly recipes: ReadonlyMap<string, Recipe>;
  /** Bytes in the dtype of the source. */
  readonly vectors: ReadonlyMap<string, () => Promise<Uint8Array<ArrayBuffer>>>;
}

/** A matrix and its error. */
export interface PreparedMatrix {
  read(): Promise<QuantizedMatrix>;
  readonly error: QuantizationError;
}

/** What was done. In a dry run errors are null. */
export interface QuantizeSummary {
  readonly path: string;
  /** Bytes of the files written, JSON text aside. */
  readonly bytes: number;
  readonly weights: number;
  readonly bitsPerWeight: number;
  /** Relative mean square error over all quantised weights. */
  readonly nmse: number | null;
  readonly seconds: number;
  readonly tensors: readonly TensorSummary[];
}

/** What was done to one tensor W [rows, cols]; in a dry run the last three are null. */
export interface TensorSummary {
  readonly name: string;
  readonly format: string;
  readonly group: Group;
  readonly rows: number;
  readonly cols: number;
  /** Storage of scales, where they are codes. */
  readonly scales?: string;
  readonly bitsPerWeight: number;
  readonly nmse: number | null;
  readonly largestError: number | null;
  readonly underflows: number | null;
}

/**
 * Quantises a Hugging Face folder or one safetensors file into the folder `out`.
 *
 * @throws {RangeError} if format, group or a glob is wrong, or a weight is not finite
 * @throws {Error} if the model is quantised already, or `out` may not be written
 */
export async function quantizeCheckpoint(
  model: string,
  out: string,
  options: QuantizeCheckpointOptions = {},
): Promise<QuantizeSummary> {
  const start = performance.now();
  const { format: name = "nf4-asym", group = 128 } = options;
  const format = typeof name === "string" ? formatOf(name) : name;
  expectGroup(group);
  const checkpoint = await openCheckpoint(model);
  refuseQuantized(checkpoint);
  const job = await planJob(checkpoint, { format, group }, options);
  const carried = await carriedFiles(checkpoint);
  const bytes = plannedBytes(job) + [...carried.values()].reduce((a, b) => a + b, 0);
  const folder = {
    sources: [model, ...checkpoint.files.map((file) => file.path)],
    force: options.force,
    bytesWanted: bytes,
    log: options.log,
  };
  if (options.dryRun) await checkOutput(out, folder);
  else await writeCheckpoint(job, out, folder, options.signal);
  const seconds = (performance.now() - start) / 1000;
  return { path: out, bytes, ...summary(job), seconds };
}

/** A checkpoint and what is to become of it, filled in on the way. */
interface Job {
  readonly checkpoint: Checkpoint;
  readonly chosen: ReadonlyMap<string, ChosenTensor>;
  readonly recipes: ReadonlyMap<string, Recipe>;
  readonly onProgress: NonNullable<QuantizeCheckpointOptions["onProgress"]>;
  readonly prepared?: PreparedTensors;
  /** By source name, of matrices that are done. */
  readonly done: Map<string, { facts: PackedFacts; error: QuantizationError }>;
  readonly totalBytes: number;
  doneBytes: number;
}

async function planJob(
  checkpoint: Checkpoint,
  { format, group }: { format: Format; group: Group },
  options: QuantizeCheckpointOptions,
): Promise<Job> {
  const { include, exclude, prepared, onProgress = () => {} } = options;
  const chosen = chooseTensors(checkpoint, { include, exclude });
  for (const name of chosen.keys()) {
    for (const packed of Object.values(packedNames(name))) {
      if (!checkpoint.tensors.has(packed)) continue;
      throw new Error(
        `Cannot quantise ${quote(name)} as the name ${quote(packed)} must be free: got a tensor`,
      );
    }
  }
  const totalBytes = checkpoint.files.reduce((sum, file) => sum + file.bytes - file.dataOffset, 0);
  const onSample = ([name]: readonly string[]) => onProgress(0, totalBytes, `choosing for ${name}`);
  const recipes = prepared?.recipes ??
    await chooseRecipes(chosen, { ...options, format, group, onSample });
  return {
    checkpoint,
    chosen,
    recipes,
    prepared,
    onProgress,
    done: new Map(),
    totalBytes,
    doneBytes: 0,
  };
}

async function writeCheckpoint(
  job: Job,
  out: string,
  folder: OutputOptions,
  signal?: AbortSignal,
): Promise<void> {
  const { checkpoint } = job;
  await using output = await createOutput(out, folder);
  const files: [string, Hashed][] = [];
  const tensors: [string, TensorRecord][] = [];
  const sourcesByFile = new Map<string, TensorSource[]>();
  for (const file of checkpoint.files) {
    const name = outputName(checkpoint, file);
    const sources = fileSources(job, file);
    sourcesByFile.set(name, sources);
    const { bytes, sha256 } = await writeSafetensors(join(output.path, name), sources, {
      ...metadataOf(job, file),
      signal,
      onTensor(tensor) {
        tensors.push([tensor.name, { file: name, bytes: tensor.bytes, sha256: tensor.sha256 }]);
        if (checkpoint.tensors.has(tensor.name)) advance(job, tensor.bytes, tensor.name);
      },
    });
    files.push([name, { bytes, sha256 }]);
  }
  files.push(...await carryFiles(checkpoint, output.path));
  const config = addQuantizationConfig(await configText(checkpoint), {
    quant_method: "afpq",
    ...commonRecipe(job),
    layout: LAYOUT_VERSION,
  });
  const index = await indexText(checkpoint, sourcesByFile);
  files.push(...await writeTexts(output.path, { "config.json": config, [INDEX_NAME]: index }));
  const manifest = manifestText({
    version: MANIFEST_VERSION,
    files: Object.fromEntries(files.sort(([a], [b]) => a < b ? -1 : 1)),
    tensors: Object.fromEntries(tensors),
    quantized: Object.fromEntries(reports(job)),
  });
  await writeTexts(output.path, { [MANIFEST_NAME]: manifest });
  signal?.throwIfAborted();
  await output.commit();
}

/** What to write in place of one file: matrices first, codes and scales in turn, then all else. */
function fileSources(job: Job, file: SafetensorsFile): TensorSource[] {
  const [matrices, others] = splitTensors(job, file);
  return [
    ...matrices.flatMap(({ name }) =>
      packedSources(name, shapeOf(job, name), () => quantizeTensor(job, name))
    ),
    ...others.map((tensor) => {
      const bytes = job.prepared?.vectors.get(tensor.name);
      const { name, dtype, shape } = tensor;
      return bytes ? { name, dtype, shape, bytes } : tensor;
    }),
  ];
}

/** Tensors of a file that are quantised, and those that are carried over. */
function splitTensors({ chosen }: Job, file: SafetensorsFile): [Tensor[], Tensor[]] {
  const isChosen = ({ name }: Tensor) => chosen.has(name);
  return [file.tensors.filter(isChosen), file.tensors.filter((tensor) => !isChosen(tensor))];
}

/** `__metadata__` of one file, known once its matrices are, and the room to keep for it. */
function metadataOf(job: Job, file: SafetensorsFile): Pick<WriteOptions, "metadata" | "reserve"> {
  const names = splitTensors(job, file)[0].map(({ name }) => name);
  if (names.length === 0) return { metadata: file.metadata ?? {} };
  const shapes = names.map((name) => ({
    name,
    ...shapeOf(job, name),
    dtype: job.chosen.get(name)!.dtype,
  }));
  return {
    metadata: () => packedMetadata(file.metadata, names.map((name) => job.done.get(name)!.facts)),
    reserve: metadataRoom(file.metadata, shapes),
  };
}

function shapeOf({ chosen, recipes }: Job, name: string): PackedShape {
  const { rows, cols } = chosen.get(name)!;
  return recipeShape({ rows, cols }, recipes.get(name)!);
}

/** Format, group and storage of scales for config.json: "mixed" where they differ; f16 goes unsaid. */
function commonRecipe({ recipes }: Job): Pick<QuantizationConfig, "format" | "group" | "scales"> {
  const all = [...recipes.values()];
  const common = <T>(values: T[]) =>
    values.every((value) => value === values[0]) ? values[0] : "mixed";
  const scales = common(all.map(({ scales }) => scales.name));
  return {
    format: common(all.map(({ format }) => format.name)),
    group: common(all.map(({ group }) => group)),
    ...(scales !== "f16" && { scales }),
  };
}

/** Reads one matrix, quantises it and measures the error. */
async function quantizeTensor(job: Job, name: string): Promise<QuantizedMatrix> {
  const { tensor, dtype } = job.chosen.get(name)!;
  advance(job, 0, name);
  const prepared = job.prepared?.matrices.get(name);
  if (prepared) {
    const q = await prepared.read();
    job.done.set(name, { facts: { ...q, dtype }, error: prepared.error });
    advance(job, tensor.end - tensor.begin, name);
    return q;
  }
  const w = widen(await tensor.bytes(), dtype);
  const { rows, cols } = job.chosen.get(name)!;
  const q = quantize(w, { rows, cols, ...job.recipes.get(name)!, name });
  job.done.set(name, { facts: { ...q, dtype }, error: quantizationError(q, w) });
  advance(job, tensor.end - tensor.begin, name);
  return q;
}

/** Counts source bytes that are done, and tells. */
function advance(job: Job, bytes: number, what: string): void {
  job.doneBytes += bytes;
  job.onProgress(job.doneBytes, job.totalBytes, what);
}

/** Bytes of the files to write, without headers and JSON text. */
function plannedBytes(job: Job): number {
  let bytes = 0;
  for (const { name, begin, end } of job.checkpoint.tensors.values()) {
    bytes += job.chosen.has(name) ? packedBytes(shapeOf(job, name)) : end - begin;
  }
  return bytes;
}

function summary(job: Job): Omit<QuantizeSummary, "path" | "bytes" | "seconds"> {
  const tensors = [...job.chosen.keys()].map((name) => tensorSummary(job, name));
  const weights = tensors.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const bits = tensors.reduce((sum, { rows, cols, bitsPerWeight }) => {
    return sum + rows * cols * bitsPerWeight;
  }, 0);
  const errors = [...job.done.values()].map(({ error }) => error);
  const nmse = errors.length > 0 ? nmseOf(sumErrors(errors)) : null;
  return { tensors, weights, bitsPerWeight: bits / weights, nmse };
}

function tensorSummary(job: Job, name: string): TensorSummary {
  const shape = shapeOf(job, name);
  const { format, group, rows, cols, scaleFormat } = shape;
  const done = job.done.get(name);
  return {
    name,
    format: format.name,
    group,
    rows,
    cols,
    ...(scaleFormat && { scales: scaleFormat.name }),
    bitsPerWeight: storedBits(shape) / (rows * cols),
    nmse: done ? nmseOf(done.error) : null,
    largestError: done ? done.error.largestError : null,
    underflows: done ? done.facts.underflows : null,
  };
}

/** The error report of `afpq.json`, in the order of the checkpoint. */
function reports(job: Job): [string, TensorReport][] {
  return [...job.chosen.keys()].map((name) => {
    const { name: _, ...report } = tensorSummary(job, name);
    return [name, report as TensorReport];
  });
}
