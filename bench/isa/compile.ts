/**
 * WGSL to the machine code of an AMD GPU that need not be there:
 *
 *   WGSL --Dawn--> SPIR-V --spirv-as--> binary --Mesa's RADV on its null hardware--> machine code
 *
 * with the driver's own statistics of it. Dawn runs on lavapipe, whose machine code nobody looks at;
 * the driver is started with RADV_FORCE_FAMILY, by vkstats.c. Dawn's bounds checks are off unless
 * asked for, as the kernels check their own bounds.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** GPUs that the table is made for; RADV knows more by name. */
export const gpus = { navi31: "RDNA3", vega10: "Vega" } as const;

/** A compute pipeline to be. */
export interface Source {
  readonly code: string;
  readonly entry: string;
  readonly constants: Readonly<Record<string, number>>;
}

/** A pipeline in SPIR-V text. */
export interface Spirv {
  readonly text: string;
  readonly entry: string;
  /** `set:binding:s|u`, and the name in the WGSL, by set and binding. */
  readonly bindings: readonly { at: string; name: string }[];
}

/** What the driver makes of a pipeline. */
export interface Compiled {
  readonly assembly: string;
  /** Lanes of a wave. */
  readonly lanes: number;
  /** By the driver's names, such as "VGPRs". */
  readonly statistics: Readonly<Record<string, number>>;
}

const here = fileURLToPath(new URL(".", import.meta.url));
const DRIVERS = "/usr/share/vulkan/icd.d";
const NEEDED = "gcc libvulkan-dev spirv-tools, and mesa-vulkan-drivers from the backports";

/** Why machine code cannot be had here, in one line, or null where it can. */
export function whyNot(): string | null {
  const found = (name: string) => spawnSync(name, ["--version"]).status === 0;
  const missing = [
    ...["gcc", "spirv-as"].filter((name) => !found(name)),
    ...(existsSync("/usr/include/vulkan/vulkan.h") ? [] : ["vulkan.h"]),
    ...["lvp", "radeon"].filter((name) => !driver(name)).map((name) => `Vulkan driver ${name}`),
  ];
  if (missing.length === 0) return null;
  return `there is no ${missing.join(", no ")} (apt-get install ${NEEDED})`;
}

/** The manifest of one of Mesa's drivers. */
function driver(name: string): string | null {
  const files = existsSync(DRIVERS) ? readdirSync(DRIVERS) : [];
  const file = files.find((file) => file.startsWith(`${name}_icd`) && file.endsWith(".json"));
  return file ? join(DRIVERS, file) : null;
}

/** Dawn's SPIR-V of each source, in their order. */
export function toSpirv(sources: readonly Source[], { robust = false } = {}): Spirv[] {
  const script = join(here, "spirv.ts");
  const run = "Deno" in globalThis ? ["run", "-A", "--no-prompt", script] : [script];
  const unlike = new Map(sources.map((source) => [JSON.stringify(source), source]));
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [...run, robust ? "robust" : "unchecked"],
    {
      input: JSON.stringify([...unlike.values()]),
      env: { ...process.env, VK_ICD_FILENAMES: driver("lvp") ?? "", NO_COLOR: "1" },
      encoding: "utf8",
      maxBuffer: 2 ** 30,
    },
  );
  const dumps = stdout.split(/^(?=; SPIR-V)/m).slice(1).map((dump) =>
    dump.split(/^(?:\s*|info:.*)$/m, 1)[0]
  );
  if (status !== 0 || dumps.length !== unlike.size) {
    const reason = /Error: ([^\n]*)/.exec(stderr)?.[1] ?? `${dumps.length} of ${unlike.size} came`;
    throw new Error(`Cannot make SPIR-V of kernels: ${reason}`);
  }
  const keys = [...unlike.keys()];
  return sources.map((source) => readSpirv(dumps[keys.indexOf(JSON.stringify(source))]));
}

/** Without what spirv-as of these years does not know, and with the bindings that it declares. */
function readSpirv(dump: string): Spirv {
  const text = dump.split("\n").filter((line) =>
    !/MaximallyReconverges|maximal_reconvergence/i.test(line)
  ).join("\n");
  const places = new Map<string, { set?: number; binding?: number; type?: string }>();
  const place = (id: string) => places.get(id) ?? places.set(id, {}).get(id)!;
  for (
    const [, id, what, value] of text.matchAll(/OpDecorate (%\w+) (DescriptorSet|Binding) (\d+)/g)
  ) {
    if (what === "Binding") place(id).binding = Number(value);
    else place(id).set = Number(value);
  }
  for (const [, id, type] of text.matchAll(/(%\w+) = OpVariable %_ptr_(\w+)/g)) {
    place(id).type = type;
  }
  const bindings = [...places.values()].filter(({ binding }) => binding !== undefined)
    .sort((a, b) => a.set! - b.set! || a.binding! - b.binding!)
    .map(({ set, binding, type = "" }) => ({
      at: `${set}:${binding}:${type.startsWith("Uniform") ? "u" : "s"}`,
      name: type.replace(/^(Uniform|StorageBuffer)_/, "").replace(/_block_.*$/, ""),
    }));
  const entry = /OpEntryPoint GLCompute %\S+ "([^"]*)"/.exec(text)?.[1] ?? "main";
  return { text, entry, bindings };
}

/** Compiles for GPUs with one vkstats, which is built for the occasion. */
export function withDriver<T>(act: (compile: (spirv: Spirv, gpu: string) => Compiled) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "afpq-isa-"));
  try {
    const vkstats = join(folder, "vkstats");
    must("gcc", ["-O1", "-o", vkstats, join(here, "vkstats.c"), "-lvulkan"]);
    return act((spirv, gpu) => compile(folder, spirv, gpu));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function compile(folder: string, { text, entry, bindings }: Spirv, gpu: string): Compiled {
  const [source, binary] = ["kernel.spvasm", "kernel.spv"].map((name) => join(folder, name));
  writeFileSync(source, text);
  const version = /; Version: (1\.\d)/.exec(text)?.[1] ?? "1.3";
  must("spirv-as", ["--target-env", `spv${version}`, source, "-o", binary]);
  const out = must(join(folder, "vkstats"), [binary, entry, ...bindings.map(({ at }) => at)], {
    RADV_DEBUG: "nocache",
    RADV_FORCE_FAMILY: gpu,
    VK_ICD_FILENAMES: driver("radeon") ?? "",
    VKSTATS_ISA: "1",
  });
  const entries = [...out.matchAll(/^stat (.*) = (.*)$/gm)].map(([, k, v]) => [k, Number(v)]);
  return {
    assembly: out.slice(out.indexOf("--- Assembly")),
    lanes: Number(/^lanes (\d+)$/m.exec(out)?.[1]),
    statistics: Object.fromEntries(entries),
  };
}

/** Output of a program that must not fail. */
function must(program: string, args: readonly string[], env: Record<string, string> = {}): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    env: { ...process.env, ...env },
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  if (status === 0) return stdout;
  const lines = (error?.message ?? stderr).trim().split("\n");
  const reason = lines.find((line) => /error/i.test(line)) ?? lines.at(-1);
  throw new Error(`Cannot run ${program.split("/").at(-1)}: ${reason}`);
}

/** Version of Mesa's Vulkan drivers, where the package manager knows it. */
export function mesaVersion(): string {
  const { stdout } = spawnSync("dpkg-query", ["-W", "-f=${Version}", "mesa-vulkan-drivers"], {
    encoding: "utf8",
  });
  return stdout || "of unknown version";
}
