/**
 * Opens the one device that kernels run on.
 *
 * Unless a binding is named, the first of these that is there and passes the self-test:
 *
 *   1. hardware through Dawn              Deno: webgpu; Bun: bun-webgpu, then webgpu
 *   2. hardware through navigator.gpu     Deno
 *   3. the system's software Vulkan       through Dawn (Mesa's lavapipe)
 *   4. the embedded software GPU          through Dawn (software_gpu.ts)
 *   5. navigator.gpu, whatever it is      Deno; OpenGL where there is no Vulkan
 *   6. the TypeScript backend             always there, `gpu` null
 *
 * A backend that computes nothing, or wrongly, is refused like one that is absent. Every limit that
 * the adapter has is asked for: the defaults are small, and bun-webgpu refuses a partial list.
 *
 * A `fast` device is one through npm webgpu with Dawn's toggles of bindings.ts: no checks of bounds in
 * shaders, f16 on NVIDIA, fine timestamps. Kernels keep in bounds by themselves, so it computes the
 * same bits. Where it cannot be had the plain one of the same place in the list does the work.
 *
 * @module
 */

import { hasBytes, MATRIX_UNITS, mayBeFast, mayUseUnits } from "./arithmetic.ts";
import {
  dawnSources,
  findAdapter,
  type Found,
  inTime,
  limitsOf,
  type Source,
  subgroupSizeOf,
} from "./bindings.ts";
import { holdCalls } from "./bun_webgpu.ts";
import { fragmentTraits } from "./fragment.ts";
import { closeGpu, createGpu, type Gpu, refusal } from "./gpu.ts";
import { findFold, selfTest } from "./self_test.ts";
import { withSoftwareGpu } from "./software_gpu.ts";
import { readChoices, tuningKey } from "./tuning_cache.ts";

/** How to reach a device: one of the three bindings, a GPU in software, or no GPU. */
export type Binding = "webgpu" | "bun-webgpu" | "deno" | "software" | "cpu";

/** All bindings, in the order of `afpq devices`. */
export const bindings: readonly Binding[] = ["webgpu", "bun-webgpu", "deno", "software", "cpu"];

/** Bounds of products: of f32 arithmetic, or of f16 and of activations of a byte. */
export type Accuracy = "exact" | "fast";

/** Both, the default first. */
export const accuracies: readonly Accuracy[] = ["exact", "fast"];

/** An open device. */
export interface Device {
  /** What was asked for, or what the default order came to. */
  readonly binding: Binding;
  /** The adapter's name, to show. */
  readonly adapter: string;
  /** "vulkan", "metal", "d3d12", "gl" or "typescript". */
  readonly backend: string;
  /** Whether the CPU does the work. */
  readonly software: boolean;
  /** Whether Dawn's toggles are on. */
  readonly fast: boolean;
  /** Whether products of a token or two may be in f16 or of bytes: see device_facts.ts. */
  readonly accuracy: Accuracy;
  /** Whether products of three tokens and more use matrix units: see kernels/matmul_matrix.wgsl. */
  readonly matrixUnits: boolean;
  /** The device itself; null is the TypeScript backend. */
  readonly gpu: Gpu | null;
  /** Frees the device; whatever uses it afterwards is rejected. */
  close(): void;
}

/** Options of {@linkcode openDevice}. */
export interface DeviceOptions {
  /** Only this binding; without it the default order. */
  binding?: Binding;
  /** Whether to try for a fast device; where there is none a plain one opens, and `log` is told. */
  fast?: boolean;
  /** "fast" multiplies in f16, or bytes, where the device can, and `log` is told where not. Default "exact". */
  accuracy?: Accuracy;
  /** Whether matrix units multiply where the device has them, and `log` is told where not. */
  matrixUnits?: boolean;
  /** Whether tilings that were tuned before are used. Default true. */
  tuned?: boolean;
  /** Told, a line at a time, what is fetched, skipped or odd. */
  log?: (line: string) => void;
  /** For the binding "software": true is the embedded GPU alone, false the system's alone. */
  embedded?: boolean;
  /** Whether the embedded GPU may be fetched where it is not in the cache. Default true. */
  fetch?: boolean;
}

/**
 * Opens a device.
 *
 * @throws {RangeError} where there is no binding of that name.
 * @throws {Error} where the named binding is absent, saying why in one line. Without a name it never
 * throws for want of a GPU: the TypeScript backend is always there.
 *
 * @example
 * ```ts
 * import { openDevice } from "./device.ts";
 *
 * const device = await openDevice({ binding: "cpu" });
 * console.log(device.adapter); // TypeScript
 * device.close();
 * ```
 */
export async function openDevice(options: DeviceOptions = {}): Promise<Device> {
  const refused: string[] = [];
  const fast = options.fast || options.matrixUnits; // Dawn shows matrix units to a fast device alone
  const plain = await open({ ...options, fast, refused: (reason) => void refused.push(reason) });
  const best = options.accuracy === "fast" && await mayBeFast(plain.gpu, options.log);
  const matrixUnits = options.matrixUnits === true && await mayUseUnits(plain.gpu, options.log);
  const device: Device = { ...plain, accuracy: best ? "fast" : "exact", matrixUnits };
  if (device.gpu && options.tuned !== false) await useChoices(device, device.gpu);
  if (options.fast && !device.fast && device.gpu) {
    const reason = refused.at(-1) ?? "it has no toggles";
    options.log?.(`No fast device (${reason}): a plain one does the work`);
  }
  return device;
}

async function useChoices(device: Device, { choices, features }: Gpu): Promise<void> {
  const known = await readChoices(tuningKey(device, features));
  for (const [name, tiling] of Object.entries(known)) choices.set(name, tiling);
}

/** Options, and who is told why a device is not fast. */
interface OpenOptions extends DeviceOptions {
  readonly refused: (reason: string) => void;
}

async function open(options: OpenOptions): Promise<Device> {
  const { binding } = options;
  if (binding === undefined) return await openBest(options);
  if (!bindings.includes(binding)) {
    throw new RangeError(
      `Cannot open a device as binding must be ${list(bindings)}: got "${binding}"`,
    );
  }
  if (binding === "cpu") return typescriptDevice();
  try {
    return binding === "software"
      ? await openSoftware(options)
      : await openSource(binding, options);
  } catch (cause) {
    throw refusal("open a device", cause as Error);
  }
}

/** Opens with toggles where that is asked for and goes, else without. */
async function openEither(
  { fast, refused }: OpenOptions,
  act: (fast: boolean) => Promise<Device>,
): Promise<Device> {
  if (!fast) return await act(false);
  try {
    return await act(true);
  } catch (error) {
    refused((error as Error).message);
    return await act(false);
  }
}

async function openBest(options: OpenOptions): Promise<Device> {
  const attempts: (() => Promise<Device>)[] = [
    ...sourcesOf(options).map((source) => () => openSource(source, options, isHardware)),
    () => openSource("deno", options, isHardware),
    () => openSoftware({ ...options, embedded: false }),
    () => openSoftware({ ...options, embedded: true }),
    () => openSource("deno", options),
  ];
  const reasons: string[] = [];
  for (const attempt of attempts) {
    try {
      return await attempt();
    } catch (error) {
      if (failedSelfTest(error)) options.log?.((error as Error).message);
      reasons.push((error as Error).message);
    }
  }
  options.log?.(`No GPU (${reasons.at(-2)}): the TypeScript backend does the work`);
  return typescriptDevice();
}

type Accept = (found: Found) => boolean;
const isHardware: Accept = ({ software }) => !software;
const isSoftware: Accept = ({ software }) => software;

/** Dawn's bindings, the one with toggles first where they are asked for. */
function sourcesOf({ fast }: DeviceOptions): readonly Source[] {
  return fast ? [...new Set<Source>(["webgpu", ...dawnSources])] : dawnSources;
}

async function openSource(
  source: Source,
  options: OpenOptions,
  accept: Accept = () => true,
): Promise<Device> {
  return await openEither(options, async (fast) => {
    const found = await findAdapter(source, { log: options.log, fast });
    if (!accept(found)) throw new Error(`Binding "${source}" has "${found.name}" only`);
    return await openAdapter(source, found, fast);
  });
}

/** The system's software Vulkan, then the embedded one, or the one of the two that is asked for. */
async function openSoftware(options: OpenOptions): Promise<Device> {
  const { log, embedded, fetch } = options;
  if (embedded !== true) {
    const device = await openSystemSoftware(options);
    if (device) return device;
    if (embedded === false) throw new Error("The system has no software Vulkan (such as lavapipe)");
  }
  return await withSoftwareGpu(
    { log, fetch },
    () =>
      firstOf(sourcesOf(options), (source) =>
        openEither(options, async (fast) => {
          const found = await findAdapter(source, { instance: "embedded", log, fast });
          return await openAdapter("software", found, fast);
        })),
  );
}

/** Where the best adapter is hardware, npm webgpu can still name lavapipe's. */
async function openSystemSoftware(options: OpenOptions): Promise<Device | null> {
  const { log } = options;
  const searches = [
    ...sourcesOf(options).map((source) => [source, { log }] as const),
    ["webgpu", { match: "llvmpipe", log }] as const,
  ];
  for (const [source, search] of searches) {
    const found = await findAdapter(source, search).catch(() => null);
    if (!found || !isSoftware(found)) continue;
    return await openEither(options, async (fast) => {
      return await openAdapter(
        "software",
        fast ? await findAdapter(source, { ...search, fast }) : found,
        fast,
      );
    });
  }
  return null;
}

/** The device of the first source that has one, or the first one's reason why not. */
async function firstOf(
  sources: readonly Source[],
  open: (source: Source) => Promise<Device>,
): Promise<Device> {
  let first: unknown;
  for (const source of sources) {
    try {
      return await open(source);
    } catch (error) {
      first ??= error;
    }
  }
  throw first;
}

/** A device with all the adapter has, self-tested. */
async function openAdapter(binding: Binding, found: Found, fast: boolean): Promise<Device> {
  const { adapter, name, backend, software } = found;
  const request = adapter.requestDevice({
    requiredFeatures: WANTED_FEATURES.filter((feature) => adapter.features.has(feature)),
    requiredLimits: limitsOf(adapter),
  });
  const device = await inTime(`Adapter "${name}"`, request);
  if (found.source === "bun-webgpu") holdCalls(device);
  const subgroupSize = subgroupSizeOf(found.adapter);
  const traits = [
    ...(software && subgroupSize === 8 ? ["octets"] : []),
    ...(hasBytes(found.adapter) ? ["bytes offered"] : []),
    ...fragmentTraits(found.adapter),
  ];
  const gpu = createGpu(device, traits, subgroupSize);
  try {
    const least = adapter.info.subgroupMinSize ?? 0;
    const tests = selfTest(gpu).then(() => software ? undefined : findFold(gpu, least));
    await inTime("The self-test", tests);
  } catch (cause) {
    device.destroy();
    throw selfTestError(found, cause as Error);
  }
  return {
    binding,
    adapter: name,
    backend,
    software,
    fast,
    accuracy: "exact",
    matrixUnits: false,
    gpu,
    close: () => closeGpu(gpu),
  };
}

const WANTED_FEATURES = [
  "shader-f16",
  "timestamp-query",
  "subgroups",
  MATRIX_UNITS,
] as GPUFeatureName[];

function typescriptDevice(): Device {
  const close = () => {};
  return {
    binding: "cpu",
    adapter: "TypeScript",
    backend: "typescript",
    software: true,
    fast: false,
    accuracy: "exact",
    matrixUnits: false,
    gpu: null,
    close,
  };
}

/** The adapter whose failed self-test is the reason of this error, if that is what it is. */
export function failedSelfTest(error: unknown): Found | null {
  for (let e = error as SelfTestError | undefined; e; e = e.cause as SelfTestError | undefined) {
    if (e.found) return e.found;
  }
  return null;
}

type SelfTestError = Error & { found?: Found };

function selfTestError(found: Found, cause: Error): SelfTestError {
  const message = `Adapter "${found.name}" fails the self-test: ${cause.message}`;
  return Object.assign(new Error(message, { cause }), { found });
}

function list(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(", ");
}
