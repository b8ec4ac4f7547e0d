/**
 * llama.cpp's quantisers and ours in one run: what each leaves of the same weights at the same bits,
 * and of a model's predictions.
 *
 * Weights are made ones (normal, Laplace, Student's t; W [512, 4096]), the shipped model's, and those
 * of every checkpoint that is named. One table each: a row for each type of llama.cpp's with the error
 * that `--bits` leaves at as many bits (at most 0.005 more: the factors of rows) and the ratio of the
 * two, below 1 where ours is less; then our rows by themselves. A type is left out, and said so, where
 * rows do not fill its blocks. quantisers.ts says what is counted.
 *
 * Then the shipped model with its decoder's linears replaced by each one's W', on held-out text: what
 * it loses over dense, paired window by window, and KL divergence from dense.
 *
 *   deno task bench:accuracy [PATH...] [--windows N]     bun bench/accuracy.ts ...
 *
 * `--windows` are three unless told, 65 are all, 0 leaves the scores out.
 *
 * @module
 */
import { cpus } from "node:os";
import { basename } from "node:path";
import process from "node:process";
import { openCheckpoint } from "../lib/checkpoint.ts";
import { chooseTensors, refuseQuantized } from "../lib/choose_tensors.ts";
import type { Comparison } from "../lib/compare.ts";
import { parseArgs } from "../lib/parse_args.ts";
import { callersPath, readNumber, UsageError } from "../lib/read_options.ts";
import { renderTable, type Row } from "../lib/report.ts";
import { exitCodeOf } from "./attended.ts";
import { fillsBlocks, type Ggml, ggmlBits, type GgmlName, ggmlTypes } from "./llama_cpp.ts";
import { openGgml } from "./llama_cpp.ts";
import { distributions, madeTensor } from "./made_weights.ts";
import {
  type Matrices,
  measure,
  type Measured,
  ours,
  type Quantiser,
  theirs,
} from "./quantisers.ts";
import { runtime, today } from "./runtime.ts";
import { createScorer, MODEL, type Weights } from "./scored_weights.ts";

const MADE = { rows: 512, cols: 4096 };

/** What is done with W' of all matrices. */
type Score = (weights: Weights) => Promise<Comparison>;

/** One quantiser's numbers; `score` where it was asked for. */
interface Result extends Measured {
  /** The type of llama.cpp's that it is, if it is one. */
  readonly type?: GgmlName;
  readonly score?: Comparison;
}

/** The types whose blocks all rows fill, and the others. */
function typesFor(matrices: Matrices): { types: GgmlName[]; leftOut: GgmlName[] } {
  const cols = [...matrices.values()].map((matrix) => matrix.cols);
  const fits = (type: GgmlName) => cols.every((cols) => fillsBlocks(cols, type));
  const all = Object.keys(ggmlTypes) as GgmlName[];
  return { types: all.filter(fits), leftOut: all.filter((type) => !fits(type)) };
}

/** The paper's recipe, and a search at 3.25 bits and at the bits of every type. */
function oursFor(types: readonly GgmlName[]): Quantiser[] {
  const budgets = [...new Set([3.25, ...types.map(ggmlBits)])].sort((a, b) => a - b);
  const searched = budgets.map((bits) => ours(`--bits ${bits}`, { bits }));
  return [ours("nf3-asym g128", "nf3-asym"), ours("nf4-asym g128", "nf4-asym"), ...searched];
}

/** Everything that can quantise the matrices, one after the other: theirs, then ours. */
export async function results(ggml: Ggml, matrices: Matrices, score?: Score): Promise<Result[]> {
  const { types } = typesFor(matrices);
  const all: { quantiser: Quantiser; type?: GgmlName }[] = [
    ...types.map((type) => ({ quantiser: theirs(ggml, type), type })),
    ...oursFor(types).map((quantiser) => ({ quantiser })),
  ];
  const done: Result[] = [];
  for (const { quantiser, type } of all) {
    const weights = new Map<string, Float32Array<ArrayBuffer>>();
    const keep = ({ name }: { name: string }, values: Float32Array<ArrayBuffer>) => {
      if (score) weights.set(name, values);
    };
    const measured = await measure(quantiser, matrices, keep);
    done.push({ ...measured, type, score: await score?.(weights) });
  }
  return done;
}

/** Ours at the bits of a type of theirs. */
export function rivalOf({ type }: Result, all: readonly Result[]): Result | undefined {
  return all.find(({ name }) => type && name === `afpq --bits ${ggmlBits(type)}`);
}

/** A row of weight errors. */
function errorRow(one: Result, _: number, all: readonly Result[]): Row {
  const rival = rivalOf(one, all);
  return {
    quantiser: one.name,
    "bits/weight": one.bitsPerWeight,
    "error x 1000": 1000 * one.error,
    "MB/s": one.megabytesPerSecond,
    "afpq bits": rival ? rival.bitsPerWeight.toFixed(3) : "",
    "afpq error": rival ? (1000 * rival.error).toPrecision(4) : "",
    "afpq / it": rival ? (rival.error / one.error).toFixed(3) : "",
  };
}

/** A row of losses on text. */
function scoreRow(one: Result, _: number, all: readonly Result[]): Row {
  const { b, nllDifference, kl } = one.score!;
  const rival = rivalOf(one, all);
  return {
    quantiser: one.name,
    "bits/weight": one.bitsPerWeight,
    "error x 1000": 1000 * one.error,
    perplexity: b.perplexity,
    "over dense": nllDifference.mean,
    "+-": nllDifference.standardError ?? "",
    KL: kl.mean,
    "KL +-": kl.standardError ?? "",
    "KL afpq / it": rival ? (rival.score!.kl.mean / kl.mean).toFixed(3) : "",
  };
}

/** Runs it all; gives the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const parsed = parseArgs(args, {
    string: ["_", "windows"],
    unknown(word, key) {
      if (key === undefined) return true;
      throw new UsageError(`Cannot understand "${word}" as a flag: there is "--windows"`);
    },
  });
  const windows = readNumber(parsed, "windows", { least: 0, most: 65 }) ?? 3;
  const ggml = await openGgml();
  await results(ggml, made("normal", { rows: 32, cols: 1024 })); // to warm up
  say(`${runtime}, one core of ${cpus().length} (${cpus()[0].model}), ${today()}`);
  for (const name of Object.keys(distributions) as (keyof typeof distributions)[]) {
    await tell(`${name}, [${MADE.rows}, ${MADE.cols}]`, ggml, made(name, MADE));
  }
  await tellModel(ggml, windows);
  for (const path of parsed._.map(callersPath)) {
    await tell(basename(path), ggml, await matricesOf(path));
  }
  return 0;
}

/** The shipped model: weight errors, and scores if there are windows. */
async function tellModel(ggml: Ggml, windows: number): Promise<void> {
  const scorer = windows > 0 ? await createScorer(windows) : undefined;
  try {
    const all = await tell("tiny-llama", ggml, await matricesOf(MODEL), scorer?.score);
    const first = all[0].score;
    if (!first) return;
    say(`tiny-llama, ${windows} windows of held-out text, dense ${first.a.perplexity.toFixed(3)}`);
    say(await renderTable(all.map(scoreRow)));
  } finally {
    scorer?.close();
  }
}

/** The table of weight errors. */
async function tell(what: string, ggml: Ggml, matrices: Matrices, score?: Score) {
  const all = await results(ggml, matrices, score);
  const { leftOut } = typesFor(matrices);
  const weights = [...matrices.values()].reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  say(`\n${what}: ${weights} weights\n\n${await renderTable(all.map(errorRow))}`.trimEnd());
  if (leftOut.length > 0) say(`left out, as rows do not fill their blocks: ${leftOut.join(", ")}`);
  return all;
}

function made(name: keyof typeof distributions, shape: typeof MADE): Matrices {
  return new Map([[name, madeTensor(name, shape)]]);
}

async function matricesOf(path: string): Promise<Matrices> {
  const checkpoint = await openCheckpoint(path);
  refuseQuantized(checkpoint);
  return chooseTensors(checkpoint);
}

const say = (text: string) => void process.stdout.write(`${text}\n`);

if (import.meta.main) process.exitCode = await exitCodeOf(() => main(process.argv.slice(2)));
