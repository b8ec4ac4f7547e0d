/**
 * What kernels cost on a GPU that is not there: instructions a weight in the inner loop, loads in
 * flight, registers, waves a SIMD.
 *
 *   deno task isa                         the kernels that the library launches for W [4096, 4096]
 *     --kernel matvec --format fp4-asym   some of them; also as words: isa matvec fp4-asym
 *     --batch 8 --shape 4096x11008 --group 64
 *     --feature shader-f16 --feature halves   of a device with those alone; unless told of one without, and
 *                                             of those of `--accuracy fast`, for a token or two
 *   deno task isa FILE.wgsl --set ROWS=4096 --set BITS=4 ..      one file of WGSL, whole
 *     --weights NAME --bits N             its buffers of weights, where not codes, codes4 or weights,
 *                                         and bits of a weight, where neither BITS nor DTYPE is set
 *     --rows R --tokens T                 what a workgroup serves: then a weight is weight x token
 *   both
 *     --gpu navi31|navi21|vega10          the GPU, or several; RADV knows more by name
 *     --set NAME=VALUE                    another value for a constant
 *     --robust                            with Dawn's bounds checks
 *     --isa                               the machine code of the loop, hottest block first; --whole: all
 *     --json, --markdown, --write         as JSON, as the section of bench/README.md, or into it
 *
 * VALU/weight is the dearest way through a loop with branches, `least` the cheapest where they differ,
 * `operations` counts a dual instruction twice where there are any; with many tokens a weight is weight
 * x token. "10 (1)" loads in flight: 10, of which 1 is of weights. "12 of 64" waves a SIMD: of 64 lanes.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import process from "node:process";
import { kernelNames } from "../../lib/kernels.ts";
import { type Args, parseArgs } from "../../lib/parse_args.ts";
import { readGroup, UsageError } from "../../lib/read_options.ts";
import { batchOf, refuse } from "../options.ts";
import { readStored } from "../stored.ts";
import { gpus, toSpirv, whyNot, withDriver } from "./compile.ts";
import { type Cost, costOf, type Kernel, perProduct } from "./cost.ts";
import { launchesOf } from "./launches.ts";
import { listing } from "./listing.ts";
import { differences, lineOf, MARKS, section, table } from "./tables.ts";

const DEFAULTS = {
  format: [
    ...["fp4", "nf4", "int4", "fp3", "nf3"].flatMap((name) => [`${name}-asym`, `${name}-sym`]),
    ...["f16", "f32"],
  ],
  batch: ["1", "8", "64", "512"],
  gpu: Object.keys(gpus),
  /** The exact path, and what `--accuracy fast` may take for a token or two: f16, or bytes. */
  feature: [[], ["shader-f16", "halves"], ["shader-f16", "halves", "bytes"]],
};

const [SHAPE, GROUP] = ["4096x4096", "128"];

/** A pipeline and what is known of it beforehand. */
type Case = Omit<Kernel, "gpu"> & { readonly code: string; readonly entry: string };

const STRINGS = "kernel format batch shape group feature weights bits rows tokens gpu set entry"
  .split(" ");
const BOOLEANS = ["robust", "isa", "whole", "json", "markdown", "write", "help"];
const FLAGS = [...STRINGS, ...BOOLEANS].map((flag) => `--${flag}`);

/** What a device may have besides subgroups: features of WebGPU, and traits of lib/gpu.ts. */
const FEATURES = ["shader-f16", "halves", "bytes"];

const unknown: string[] = [];
const args = parseArgs(process.argv.slice(2), {
  string: ["_", ...STRINGS],
  boolean: BOOLEANS,
  collect: ["kernel", "format", "batch", "feature", "weights", "gpu", "set"],
  unknown: (word, key) => {
    if (key !== undefined) unknown.push(word);
  },
});

try {
  await main();
} catch (error) {
  console.error(`isa: ${(error as Error).message}`);
  process.exit(error instanceof UsageError ? 2 : 1);
}

async function main(): Promise<void> {
  if (args.help) return console.log(usage());
  if (unknown.length > 0) refuse(unknown[0], "flag", FLAGS);
  const empty = STRINGS.find((flag) => [args[flag]].flat().includes(""));
  if (empty) throw new UsageError(`Cannot run as --${empty} must have a value: got none`);
  const why = whyNot();
  if (why) throw new Error(`Cannot read machine code: ${why}`);
  const cases = args._.some(isFile) ? fileCases(args) : await libraryCases(args);
  const spirv = toSpirv(cases, { robust: args.robust === true });
  const whole: string[] = [];
  const costs = withDriver((compile) =>
    list("gpu", DEFAULTS.gpu).flatMap((gpu) =>
      cases.map((kernel, i) => {
        const compiled = compile(spirv[i], gpu);
        if (args.whole) whole.push(compiled.assembly);
        return costOf(compiled, spirv[i], { ...kernel, gpu });
      })
    )
  );
  print(costs);
  for (const text of whole) console.log(`\n${text.trimEnd()}`);
}

function print(costs: readonly Cost[]): void {
  const reached = new Set(costs.map(({ kernel }) => kernel));
  const others = kernelNames.filter((name) => multiplies(name) && !reached.has(name));
  if (args.json) return console.log(json(costs));
  if (args.markdown) return console.log(section(what(), costs, others));
  if (args.write) return writeSection(section(what(), costs, others));
  console.log(table(costs.map(lineOf)));
  if (args.isa) costs.forEach((cost) => console.log(`\n${listing(cost)}`));
  else if (differences(costs).length > 0) console.log(`\n${table(differences(costs))}`);
}

/** Costs with what a weight comes to, without the code of the loop. */
function json(costs: readonly Cost[]): string {
  const all = costs.map((cost) => ({
    ...cost,
    valuPerWeight: perProduct(cost, cost.loop?.counts.valu),
    loop: cost.loop && { ...cost.loop, steps: undefined },
  }));
  return JSON.stringify(all, null, 1);
}

/** Files of WGSL as they are. */
function fileCases({ _: files, entry, bits, rows, tokens }: Args): Case[] {
  const number = (word: unknown) => word === undefined ? undefined : Number(word);
  return files.map((file) => ({
    kernel: basename(file),
    code: readFileSync(file, "utf8"),
    entry: String(entry ?? "main"),
    constants: constants(),
    weights: list("weights"),
    bits: number(bits),
    rows: number(rows),
    tokens: number(tokens),
  }));
}

/** What the library launches, of the kernels and formats that are asked for. */
async function libraryCases(
  { _: words, shape = SHAPE, group = GROUP }: Args,
): Promise<Case[]> {
  const [, rows, cols] = /^(\d+)x(\d+)$/.exec(String(shape))?.map(Number) ?? [];
  if (!rows || !cols) {
    throw new UsageError(`Cannot cost W as the shape must be ROWSxCOLS: got "${shape}"`);
  }
  const isKernel = (word: string) => (kernelNames as string[]).includes(word);
  const kernels = [...list("kernel", []), ...words.filter(isKernel)];
  const formats = [...list("format", []), ...words.filter((word) => !isKernel(word))].map(formatOf);
  const unknown = (list("feature") ?? []).find((name) => !FEATURES.includes(name));
  if (unknown) refuse(unknown, "feature", FEATURES);
  const cases: Case[] = [];
  for (const format of formats.length > 0 ? formats : DEFAULTS.format) {
    const product = { rows, cols, format, group: readGroup(String(group)) };
    const batches = list("batch", DEFAULTS.batch).map(batchOf);
    const features = list("feature");
    for (const own of features ? [features] : DEFAULTS.feature) {
      const few = own.length === 0 ? batches : batches.filter((batch) => batch <= 2);
      cases.push(...await launchesOf(product, few, own));
    }
  }
  const named = (name: string) => kernels.length > 0 ? kernels.includes(name) : multiplies(name);
  const wanted = [...new Map(cases.map((one) => [keyOf(one), one])).values()]
    .filter(({ kernel }) => named(kernel));
  if (wanted.length === 0) {
    throw new UsageError(
      `Cannot find ${kernels.join(", ")} among what is launched: ${names(cases)}`,
    );
  }
  return wanted.map((kernel) => ({ ...kernel, constants: { ...kernel.constants, ...constants() } }))
    .sort((a, b) => order(a) - order(b));
}

/** The same for the same pipeline. */
function keyOf({ code, constants, format }: Case): string {
  return [format, code, JSON.stringify(constants)].join("\n");
}

function multiplies(kernel: string): boolean {
  return /mat(vec|mul)/.test(kernel);
}

/** What was costed, in words. */
function what(): string {
  const { shape = SHAPE, group = GROUP, robust } = args;
  const asked = list("feature")?.join(", ") ?? "and of f16 and bytes what a kernel wants";
  const changed = (args.set as string[]).map((word) => `, ${word}`).join("");
  const checks = `Dawn's bounds checks ${robust ? "on" : "off"}`;
  return `W [${
    String(shape).replace("x", ", ")
  }], groups of ${group}, subgroups, ${asked}${changed}, ${checks}`;
}

function order({ kernel }: Case): number {
  return (kernelNames as string[]).indexOf(kernel);
}

function names(cases: readonly Case[]): string {
  return [...new Set(cases.map(({ kernel }) => kernel))].join(", ");
}

/** A format as it is always written; a word near a kernel's name is taken for one that went wrong. */
function formatOf(word: string): string {
  if (["f16", "bf16", "f32"].includes(word)) return word;
  const names = [...kernelNames, ...DEFAULTS.format];
  if (/^(dense_)?mat/.test(word)) refuse(word, "kernel or format", names);
  return readStored(word);
}

function isFile(word: string): boolean {
  return word.endsWith(".wgsl");
}

/** Values of a flag that may be given often, or with commas. */
function list(flag: string, otherwise?: readonly string[]): string[];
function list(flag: string, otherwise?: undefined): string[] | undefined;
function list(flag: string, otherwise?: readonly string[]): readonly string[] | undefined {
  const values = (args[flag] as string[]).flatMap((value) => value.split(","));
  return values.length > 0 ? values : otherwise;
}

function constants(): Record<string, number> {
  const entries = (args.set as string[]).map((word) => {
    const [, name, value] = /^(\w+)=(.+)$/.exec(word) ?? [];
    const number = value === "true" ? 1 : value === "false" ? 0 : Number(value);
    if (!name || Number.isNaN(number)) throw new Error(`Cannot set "${word}": must be NAME=NUMBER`);
    return [name, number];
  });
  return Object.fromEntries(entries);
}

/** Puts the section where the last one is. */
function writeSection(text: string): void {
  const readme = new URL("../README.md", import.meta.url);
  const before = readFileSync(readme, "utf8");
  const [begin, end] = MARKS.map((mark) => before.indexOf(mark));
  if (begin < 0 || end < begin) throw new Error("Cannot find the section in bench/README.md");
  writeFileSync(readme, before.slice(0, begin) + text + before.slice(end + MARKS[1].length));
}

function usage(): string {
  const own = readFileSync(new URL(import.meta.url), "utf8");
  return own.slice(0, own.indexOf("@module")).replace(/^\/?\s?\*+ ?/gm, "").trim();
}
