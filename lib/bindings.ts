/**
 * A WebGPU adapter from each of the three bindings, and what it is.
 *
 *   webgpu      npm webgpu: Dawn for Deno and Bun
 *   bun-webgpu  npm bun-webgpu: an older Dawn, for Bun alone
 *   deno        navigator.gpu: wgpu, built into Deno
 *
 * Traps handled here: Dawn kills the process when its instance is collected, so instances are kept
 * forever; bun-webgpu hands out a backend that computes nothing rather than no adapter, and its calls
 * must hold their memory (bun_webgpu.ts); Deno would prompt for --allow-ffi; and Dawn prints on stderr
 * whatever it likes. Its two warnings about dynamic buffers are dropped, anything else becomes the
 * reason of a failure or goes to `log`.
 *
 * @module
 */

import process from "node:process";
import { holdCalls } from "./bun_webgpu.ts";
import { capturingStderr, keepForever } from "./native.ts";
import { loadNpm } from "./npm.ts";
import { permitted } from "./permission.ts";

/** Where adapters come from. */
export type Source = "webgpu" | "bun-webgpu" | "deno";

/** An adapter, good for one device, and what is known of it. */
export interface Found {
  readonly source: Source;
  readonly adapter: GPUAdapter;
  /** A name to show. */
  readonly name: string;
  /** "vulkan", "metal", "d3d12" or "gl". */
  readonly backend: string;
  /** Whether the CPU does the work. */
  readonly software: boolean;
}

/** Options of {@linkcode findAdapter}. */
export interface FindOptions {
  /** Only an adapter whose name holds this; npm webgpu alone can choose. */
  match?: string;
  /** An instance of Dawn apart from others, which may have found other drivers. */
  instance?: string;
  /** Whether Dawn's toggles are to be {@linkcode FAST_FLAGS}; npm webgpu alone has any. */
  fast?: boolean;
  /** Told what native code printed, except for the known warnings. */
  log?: (line: string) => void;
}

/** The Dawn bindings of this runtime, best first. */
export const dawnSources: readonly Source[] = "Bun" in globalThis
  ? ["bun-webgpu", "webgpu"]
  : ["webgpu"];

/**
 * Flags of npm webgpu for a fast device: features that Dawn hides (f16 on NVIDIA's Linux driver, what
 * is experimental), no code around accesses and divisions that kernels keep in bounds themselves,
 * workgroup memory as it comes, and timestamps to the nanosecond.
 */
const FAST_FLAGS: readonly string[] = [
  "enable-dawn-features=" + [
    "allow_unsafe_apis",
    "vulkan_enable_f16_on_nvidia",
    "use_vulkan_memory_model",
    "disable_robustness",
    "disable_workgroup_init",
    "disable_polyfills_on_integer_div_and_mod",
  ].join(","),
  "disable-dawn-features=timestamp_quantization",
];

const KNOWN_WARNING = /maxDynamic(Uniform|Storage)BuffersPerPipelineLayout artificially reduced/;
const SOFTWARE = /llvmpipe|lavapipe|softpipe|swiftshader|basic render|software/i;
/** Numbers that bun-webgpu gives where others are silent (webgpu.h): WGPUBackendType. */
const BACKEND_TYPES: Record<number, string> = {
  4: "d3d12",
  5: "metal",
  6: "vulkan",
  7: "gl",
  8: "gl",
};
const NULL_BACKEND_TYPE = 1;
const CPU_ADAPTER_TYPE = 3;
const DEADLINE_MS = 60_000;

/**
 * Asks a binding for its best adapter.
 *
 * @throws {Error} where the runtime, a permission, the package, a driver or a GPU is missing.
 */
export async function findAdapter(source: Source, options: FindOptions = {}): Promise<Found> {
  requireRuntime(source);
  if (options.fast && source !== "webgpu") {
    throw new Error(`Binding "${source}" takes no toggles: only "webgpu" does`);
  }
  const { adapter, lines } = await requestAdapter(source, options);
  const printed = lines.filter((line) => !KNOWN_WARNING.test(line));
  if (!adapter || isNullBackend(adapter)) {
    throw new Error(`Binding "${source}" found no adapter${reasonIn(printed)}`);
  }
  for (const line of printed) options.log?.(line);
  return { source, adapter, ...describe(source, adapter) };
}

function requireRuntime(source: Source): void {
  if (source === "deno" && !("Deno" in globalThis)) {
    throw new Error('Binding "deno" is navigator.gpu of Deno: this is Bun');
  }
  if (source === "bun-webgpu" && !("Bun" in globalThis)) {
    throw new Error('Binding "bun-webgpu" works in Bun alone: this is Deno');
  }
  if (source === "webgpu" && !permitted({ name: "ffi" })) {
    throw new Error('Binding "webgpu" needs --allow-ffi');
  }
}

async function requestAdapter(
  source: Source,
  options: FindOptions,
): Promise<{ adapter: GPUAdapter | null; lines: string[] }> {
  const gpu = await openGpu(source, options);
  const request = () =>
    inTime(`Binding "${source}"`, gpu.requestAdapter({ powerPreference: "high-performance" }));
  try {
    const { result: adapter, lines } = await capturingStderr(request);
    return { adapter: source === "bun-webgpu" ? holdCalls(adapter) : adapter, lines };
  } catch (error) {
    const { message, printed = [] } = error as Error & { printed?: string[] };
    return { adapter: null, lines: [...printed, message.split("\n", 1)[0]] };
  }
}

const instances = new Map<string, GPU>();

/** The binding's entry point, one for each set of options, never collected. */
async function openGpu(source: Source, options: FindOptions): Promise<GPU> {
  const { match = "", instance = "", fast = false } = options;
  if (source === "deno") return navigator.gpu;
  const flags = [...(match ? [`adapter=${match}`] : []), ...(fast ? FAST_FLAGS : [])];
  const key = [source, instance, ...flags].join("\n");
  const known = instances.get(key);
  if (known) return known;
  const gpu = source === "webgpu"
    ? (await loadNpm<Dawn>("webgpu")).create(flags)
    : holdCalls((await loadNpm<BunDawn>("bun-webgpu")).createGPUInstance());
  instances.set(key, gpu);
  keepForever(gpu);
  return gpu;
}

interface Dawn {
  create(flags: string[]): GPU;
}

interface BunDawn {
  createGPUInstance(): GPU;
}

/** What bun-webgpu tells beyond the specification. */
interface DawnInfo extends GPUAdapterInfo {
  backendType?: number;
  adapterType?: number;
}

function isNullBackend(adapter: GPUAdapter): boolean {
  const { device, backendType } = adapter.info as DawnInfo;
  return device === "null-backend" || backendType === NULL_BACKEND_TYPE;
}

function describe(source: Source, adapter: GPUAdapter): Omit<Found, "source" | "adapter"> {
  const info = adapter.info as DawnInfo;
  const names = [info.description, info.device, info.architecture].join(" ");
  const software = SOFTWARE.test(names) || info.isFallbackAdapter === true ||
    info.adapterType === CPU_ADAPTER_TYPE;
  return { name: nameOf(info, software), backend: backendOf(source, info), software };
}

/** In Dawn `device` is the GPU and `description` its driver; in Deno `description` is the GPU. */
function nameOf(
  { vendor, architecture, device, description }: DawnInfo,
  software: boolean,
): string {
  const deviceIsNumber = !/[a-z]{3}/i.test(device);
  if (description && (software || deviceIsNumber)) return description;
  const name = deviceIsNumber ? [vendor, architecture, device].join(" ").trim() : device;
  return (description ? `${name} (${description})` : name) || "unnamed adapter";
}

/**
 * Only bun-webgpu says which backend it is. Dawn's is the platform's own. Deno's wgpu is too, but for
 * OpenGL on Linux, known by the subgroup sizes that stand for "none": 4 to 128.
 */
function backendOf(source: Source, info: DawnInfo): string {
  if (info.backendType !== undefined) return BACKEND_TYPES[info.backendType] ?? "unknown";
  if (process.platform === "darwin") return "metal";
  if (process.platform === "win32") return "d3d12";
  const noSubgroups = info.subgroupMinSize === 4 && info.subgroupMaxSize === 128;
  return source === "deno" && noSubgroups ? "gl" : "vulkan";
}

/** Every limit of an adapter or device, as a plain object. */
export function limitsOf({ limits }: GPUAdapter | GPUDevice): Record<string, number> {
  const all: Record<string, number> = {};
  for (const name in limits) {
    const limit = limits[name as keyof GPUSupportedLimits] as unknown;
    if (typeof limit === "number" && /^m(ax|in)[A-Z]/.test(name)) all[name] = limit;
  }
  return all;
}

/** Lanes of subgroups where all have as many, else 0. */
export function subgroupSizeOf({ features, info }: GPUAdapter): number {
  const { subgroupMinSize, subgroupMaxSize } = info;
  return features.has("subgroups") && subgroupMinSize === subgroupMaxSize ? subgroupMinSize : 0;
}

function reasonIn(lines: string[]): string {
  const [line] = lines;
  return line ? `: ${line.replace(/^(Warning|Error): /, "")}` : "";
}

/** The promise's value, or an error where a driver hangs. */
export function inTime<T>(what: string, promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`${what} gave no answer in ${DEADLINE_MS / 1000} s`)),
    DEADLINE_MS,
  );
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
