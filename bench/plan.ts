/**
 * What a run times and in which order: pieces of work, the most important first, and for each the
 * kernels and formats that are timed side by side. The first shape comes with all its batches, then the
 * token, then the other shapes batch by batch.
 *
 * @module
 */
import { format as formatOf, formatNames } from "../lib/format.ts";
import { UsageError } from "../lib/read_options.ts";
import type { BenchOptions, Case } from "./options.ts";
import { rivalHas, rivals } from "./rivals.ts";
import {
  linearsOf,
  type Model,
  models,
  type Shape,
  shapes,
  shrunk,
  tokenOrder,
  usualShapes,
} from "./shapes.ts";
import type { Choice, Work } from "./variants.ts";

const BATCHES = [1, 8, 64, 512];
const FORMATS = ["fp4", "nf4", "int4", "nf3"].flatMap((name) => [`${name}-sym`, `${name}-asym`]);
/** How much narrower the usual shapes are where the CPU plays the GPU. */
const SHRINK = 4;

/** The case that a batch belongs to. */
function caseOf(batch: number): Case {
  return batch <= 2 ? "matvec" : batch <= 32 ? "small-batch" : "matmul";
}

/**
 * The pieces of work of a run.
 *
 * @throws {UsageError} if the flags leave nothing
 */
export function planOf(options: BenchOptions, software: boolean): Work[] {
  const { only, all, group, tune } = options;
  const tuning = tune === "now";
  if (only === "copy" || only === "empty") return [];
  const cut = <T extends Shape | Model>(all: readonly T[]) =>
    software ? all.map((one) => shrunk(one, SHRINK)) : all;
  const wanted = options.shapes ?? cut(all ? shapes : usualShapes);
  const decoded = options.models ?? cut(all ? models : [models[0]]);
  const batches = options.batches ?? BATCHES;
  const [first, ...others] = unique(wanted).map((shape) =>
    batches.map((batch): Work => {
      const name = shape.name || `${shape.rows}x${shape.cols}`;
      return { batch, group, tuning, case: caseOf(batch), name, shapes: [shape], order: [0] };
    })
  );
  const decodes = decoded.flatMap((model) =>
    batches.filter((batch) => batch <= 2).map((batch): Work => {
      const shapes = linearsOf(model), order = tokenOrder(model);
      return { batch, group, tuning, case: "decode", name: model.name, shapes, order };
    })
  );
  const later = batches.flatMap((_, i) => others.map((works) => works[i]));
  const works = [...(first ?? []), ...decodes, ...later];
  const left = works.filter((work) => only === undefined || work.case === only);
  if (left.length > 0) return left;
  throw new UsageError(
    `Cannot run --only ${only} as batches and shapes must leave some of it: got none`,
  );
}

/** Shapes of one size once. */
function unique(all: readonly Shape[]): Shape[] {
  return [...new Map(all.map((shape) => [`${shape.rows} ${shape.cols}`, shape])).values()];
}

/** What is timed side by side on a piece of work: f16 always, as it is what all is held against. */
export function choicesOf({ formats, all }: BenchOptions, work: Work): Choice[] {
  const wanted = formats ?? (all ? [...formatNames.filter(benched), "f32"] : FORMATS);
  const own = [...new Set(["f16", ...wanted])].map((
    format,
  ) => ({ kernel: "own", format } as const));
  if (work.batch > 1 || work.case === "decode") return own;
  const packed = wanted.filter((name) => name !== "f16" && name !== "f32");
  return [
    ...own,
    ...rivals.flatMap((kernel) =>
      packed.filter((format) => !format.includes("/") && rivalHas(kernel, formatOf(format)))
        .map((format) => ({ kernel, format }))
    ),
  ];
}

/** int3 is left out: what it would say, int4 does. */
function benched(name: string): boolean {
  return !name.startsWith("int3");
}
