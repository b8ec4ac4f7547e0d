/**
 * What a kernel costs on a GPU that is not there.
 *
 *   deno task isa FILE.wgsl --set ROWS=4096 --set BITS=4 ..    one file of WGSL, whole
 *     --gpu navi31|navi21|vega10    the GPU, or several
 *     --weights NAME                the buffers of weights, where not codes, codes4 or weights
 *     --bits N                      bits of a weight, where neither BITS nor DTYPE says
 *     --robust                      with Dawn's bounds checks
 *     --isa                         the machine code of the loop, --isa all: of the kernel
 *     --json                        as JSON
 *
 * @module
 */
import process from "node:process";
import { renderTable } from "../../mod.ts";
import { parseArgs } from "../../lib/parse_args.ts";
import { readKernel, toSpirv, whyNot, withDriver } from "./compile.ts";
import { type Cost, costOf, rowOf } from "./cost.ts";

const args = parseArgs(process.argv.slice(2), {
  string: ["_", "set", "gpu", "entry", "weights", "bits"],
  boolean: ["isa", "robust", "json"],
  collect: ["set", "gpu", "weights"],
});
const why = whyNot();
if (why) throw new Error(why);
const constants = Object.fromEntries(
  (args.set as string[]).map((s) => s.split("=")).map(([k, v]) => [k, Number(v)]),
);
const gpus = (args.gpu as string[]).length > 0 ? args.gpu as string[] : ["navi31"];
const weights = (args.weights as string[]).length > 0 ? args.weights as string[] : undefined;
const costs: Cost[] = [];
for (const file of args._) {
  const [spirv] = toSpirv([{
    code: readKernel(file),
    entry: String(args.entry ?? "main"),
    constants,
  }], { robust: Boolean(args.robust) });
  withDriver((compile) => {
    for (const gpu of gpus) {
      costs.push(
        costOf(compile(spirv, gpu), spirv, {
          kernel: file.replace(/^.*\//, ""),
          gpu,
          constants,
          weights,
          bits: args.bits ? Number(args.bits) : undefined,
        }),
      );
    }
  });
}
if (args.json) console.log(JSON.stringify(costs));
else console.log(await renderTable(costs.map(rowOf)));
for (const cost of args.isa ? costs : []) {
  console.log(cost.loop?.code.map(({ text }) => text).join("\n"));
}
