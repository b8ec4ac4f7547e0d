/**
 * Prints Dawn's SPIR-V of compute pipelines, in a process of its own since Dawn prints on stdout:
 * reads `[{ code, entry, constants }, ..]` from stdin; the shaders come out in that order.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { limitsOf } from "../../lib/bindings.ts";
import { keepForever } from "../../lib/native.ts";
import { loadNpm } from "../../lib/npm.ts";
import type { Source } from "./compile.ts";

/** A pipeline, and the name to show where it fails. */
type Named = Source & { readonly kernel?: string };

const WANTED: GPUFeatureName[] = [
  "shader-f16",
  "subgroups",
  "subgroup-size-control" as GPUFeatureName,
];

try {
  const device = await openDawn(process.argv[2] === "robust");
  for (const source of JSON.parse(readFileSync(0, "utf8"))) await print(device, source);
} catch (error) {
  console.error(`Error: ${(error as Error).message}`);
  process.exit(1);
}
process.exit(0);

async function openDawn(robust: boolean): Promise<GPUDevice> {
  const off = robust ? [] : ["disable_robustness"];
  const features = ["dump_shaders", "disable_symbol_renaming", ...off];
  const { create } = await loadNpm<{ create(flags: string[]): GPU }>("webgpu");
  const gpu = create(["backend=vulkan", `enable-dawn-features=${features}`]);
  keepForever(gpu); // Dawn crashes once its instance is collected
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error("Dawn found no adapter");
  return await adapter.requestDevice({
    requiredFeatures: WANTED.filter((name) => adapter.features.has(name)),
    requiredLimits: limitsOf(adapter),
  });
}

async function print(device: GPUDevice, { kernel, code, entry, constants }: Named): Promise<void> {
  const name = kernel === undefined ? "" : `${kernel}:`;
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const error = messages.find(({ type }) => type === "error");
  if (error) throw new Error(`${name}${error.lineNum}:${error.linePos} ${error.message}`);
  const compute = { module, entryPoint: entry, constants };
  await device.createComputePipelineAsync({ layout: "auto", compute }).catch((error) => {
    throw new Error(`${name && `${name} `}${error.message}`);
  });
}
