/**
 * Prints Dawn's SPIR-V of compute pipelines, in a process of its own since Dawn prints on stdout:
 * reads `[{ code, entry, constants }, ..]` from stdin; the shaders come out in that order.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { limitsOf } from "../../lib/device.ts";
import { keepForever } from "../../lib/native.ts";
import { loadNpm } from "../../lib/npm.ts";
import type { Source } from "./compile.ts";

const WANTED = ["shader-f16", "subgroups", "subgroup-size-control"] as GPUFeatureName[];

const [robustness] = process.argv.slice(2);
const off = robustness === "robust" ? [] : ["disable_robustness"];
const features = ["dump_shaders", "disable_symbol_renaming", ...off];
const { create } = await loadNpm<{ create(flags: string[]): GPU }>("webgpu");
const gpu = create(["backend=vulkan", `enable-dawn-features=${features}`]);
keepForever(gpu); // Dawn crashes once its instance is collected
const adapter = await gpu.requestAdapter();
if (!adapter) throw new Error("Dawn found no adapter");
const device = await adapter.requestDevice({
  requiredFeatures: WANTED.filter((name) => adapter.features.has(name)),
  requiredLimits: limitsOf(adapter),
});
for (const { code, entry, constants } of JSON.parse(readFileSync(0, "utf8")) as Source[]) {
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const error = messages.find(({ type }) => type === "error");
  if (error) throw new Error(`${error.lineNum}:${error.linePos} ${error.message}`);
  const compute = { module, entryPoint: entry, constants };
  await device.createComputePipelineAsync({ layout: "auto", compute });
}
process.exit(0);
