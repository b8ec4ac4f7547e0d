/**
 * Runs compute kernels on one WebGPU device: buffers up, dispatches, buffers down.
 *
 *   kernel + constants -> pipeline (compiled once, kept)
 *   pipeline + buffers -> dispatch (`prepare`), dispatches -> command buffer (`submit`)
 *   `run` is one dispatch prepared and submitted.
 *
 * WebGPU drops an invalid command without a word, so every creation and submission here is guarded
 * (gpu.ts), and the first word of each output and of each read-back holds a mark that only finished
 * work overwrites. `download()` throws what cannot be shown to be right.
 *
 * Constants of the WebGPU specification are written out below: Bun has no `GPUBufferUsage`, and in
 * Deno the global one belongs to its own binding. The device itself comes from device.ts.
 *
 * @module
 */

import { attempt, firstLine, type Gpu, guarded, refusal, rejectIfLost, takeFault } from "./gpu.ts";
import { eventLoop, waitPatiently } from "./waiting.ts";

export { createGpu, type Gpu } from "./gpu.ts";

/** A compute shader and the name it goes by in labels and errors. */
export interface Kernel {
  /** The name, that of the kernel's file. */
  name: string;
  /** WGSL with the entry point `main`, enable lines first. */
  code: string;
}

/** What one run of a kernel needs. */
export interface Launch {
  /** The kernel's `override` constants. */
  constants: Record<string, number>;
  /** Bound in order, from binding 0. */
  buffers: (GPUBuffer | GPUBufferBinding)[];
  /** A number is folded over two axes where one is too short: see {@linkcode fold}. */
  workgroups: number | [number, number];
}

/** A kernel with its buffers, ready to be encoded. */
export interface Dispatch {
  kernel: Kernel;
  pipeline: GPUComputePipeline;
  bindings: GPUBindGroup;
  workgroups: readonly [number, number];
}

const MAP_READ = 0x0001;
const COPY_SRC = 0x0004;
const COPY_DST = 0x0008;
const STORAGE = 0x0080;
const MAP_MODE_READ = 0x0001;

/** A quiet NaN that no arithmetic makes: in a result it means that the work was never done. */
const MARK = 0x7fc0dead;
const CHUNK_BYTES = 16 * 2 ** 20;
const UNSUBMITTED_LIMIT_BYTES = 64 * 2 ** 20;

/**
 * Joins whole WGSL files into one kernel. Lines `enable ...;` move to the front, each once, as WGSL
 * wants them before anything else; nothing else changes.
 *
 * @example
 * ```ts
 * import { joinKernel } from "./launch.ts";
 * import assert from "node:assert/strict";
 *
 * const { code } = joinKernel("sum", ["const N = 4;\n", "enable f16;\nfn half() {}\n"]);
 * assert.equal(code, "enable f16;\nconst N = 4;\n\nfn half() {}\n");
 * ```
 */
export function joinKernel(name: string, files: string[]): Kernel {
  const enables = new Set<string>();
  const bodies = files.map((file) =>
    file.replace(/^[ \t]*enable\s[^;]*;[ \t]*\r?\n?/gm, (line) => {
      enables.add(line.trim() + "\n");
      return "";
    })
  );
  return { name, code: [...enables].join("") + bodies.join("\n") };
}

/**
 * Copies data to a new buffer, a storage buffer unless `usage` says otherwise; bytes are rounded up
 * to a multiple of 4 with zeros.
 *
 * @throws {Error} where the device is out of memory, refuses the size, or is lost.
 */
export async function upload(
  gpu: Gpu,
  data: ArrayBufferView,
  usage: number = STORAGE,
): Promise<GPUBuffer> {
  const buffer = await allocate(gpu, data.byteLength, usage);
  await write(gpu, buffer, 0, data);
  return buffer;
}

/** A new buffer of zeros, for `write()`; a storage buffer unless `usage` says otherwise. */
export function allocate(gpu: Gpu, bytes: number, usage: number = STORAGE): Promise<GPUBuffer> {
  const descriptor = { size: roundUp4(bytes), usage: usage | COPY_DST | COPY_SRC };
  const what = `create a buffer of ${descriptor.size} bytes`;
  return guarded(gpu, what, () => gpu.device.createBuffer(descriptor));
}

/** Copies data into a buffer from byte `begin`, a multiple of 4, on. */
export async function write(
  gpu: Gpu,
  buffer: GPUBuffer,
  begin: number,
  data: ArrayBufferView,
): Promise<void> {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    const chunk = wholeWords(bytes.subarray(at, at + CHUNK_BYTES));
    gpu.device.queue.writeBuffer(buffer, begin + at, chunk);
    gpu.unsubmittedBytes += chunk.length;
    if (gpu.unsubmittedBytes >= UNSUBMITTED_LIMIT_BYTES) await flush(gpu);
  }
}

/**
 * A new storage buffer for a kernel to write and `download()` to read: zeros, but for the mark in its
 * first word that tells `download()` whether a kernel ever wrote it. Errors come out of the next
 * `download()`.
 */
export function empty(gpu: Gpu, bytes: number, usage: number = STORAGE): GPUBuffer {
  const descriptor = { size: roundUp4(bytes), usage: usage | COPY_DST | COPY_SRC };
  return attempt(gpu, `create a buffer of ${descriptor.size} bytes`, () => {
    const buffer = gpu.device.createBuffer(descriptor);
    if (bytes > 0) gpu.device.queue.writeBuffer(buffer, 0, wordBytes(MARK));
    return buffer;
  });
}

/** Compiles the kernel, unless it is already, and enqueues it; the work may still run on return. */
export async function run(gpu: Gpu, kernel: Kernel, launch: Launch): Promise<void> {
  const dispatch = await prepare(gpu, kernel, launch);
  await submit(gpu, [dispatch]);
}

/** Finds or compiles the pipeline and binds the buffers, without running anything. */
export async function prepare(gpu: Gpu, kernel: Kernel, launch: Launch): Promise<Dispatch> {
  const pipeline = await findPipeline(gpu, kernel, launch.constants);
  const workgroups = fold(launch.workgroups, gpu.device.limits.maxComputeWorkgroupsPerDimension);
  const entries = launch.buffers.map((buffer, binding) => ({
    binding,
    resource: "buffer" in buffer ? buffer : { buffer },
  }));
  const bindings = await guarded(
    gpu,
    `bind the buffers of kernel "${kernel.name}"`,
    () =>
      gpu.device.createBindGroup({
        label: kernel.name,
        layout: pipeline.getBindGroupLayout(0),
        entries,
      }),
  );
  return { kernel, pipeline, bindings, workgroups };
}

/** Enqueues dispatches, in order, as one submission; each sees what those before it wrote. */
export async function submit(
  gpu: Gpu,
  dispatches: readonly Dispatch[],
  timestampWrites?: GPUComputePassTimestampWrites,
): Promise<void> {
  const names = [...new Set(dispatches.map(({ kernel }) => kernel.name))].join(", ");
  await guarded(gpu, `run kernel "${names}"`, () => {
    const encoder = gpu.device.createCommandEncoder({ label: names });
    const pass = encoder.beginComputePass({
      label: names,
      ...(timestampWrites && { timestampWrites }),
    });
    for (const { pipeline, bindings, workgroups: [x, y] } of dispatches) {
      if (x * y === 0) continue;
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindings);
      pass.dispatchWorkgroups(x, y);
    }
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    gpu.unsubmittedBytes = 0;
  });
}

/**
 * Copies a buffer back, the whole of it or its first `bytes`, once all work enqueued so far is done.
 *
 * @throws {Error} where the device is lost, reported an error since the last download, or dropped the
 * work whose result this is.
 */
export async function download(
  gpu: Gpu,
  buffer: GPUBuffer,
  bytes: number = buffer.size,
): Promise<Float32Array<ArrayBuffer>> {
  const size = roundUp4(bytes);
  if (size === 0) return new Float32Array(0);
  let staging: GPUBuffer | undefined;
  try {
    staging = await guarded(gpu, `read ${bytes} bytes back`, () => copyOut(gpu, buffer, size));
    return await waitPatiently(buffer, () => readMapped(gpu, staging!));
  } catch (error) {
    throw takeFault(gpu) ?? error;
  } finally {
    staging?.destroy();
  }
}

/**
 * Enqueues a copy of the buffer's first bytes to one that can be mapped, full of marks until then.
 * In Deno marks reach the buffer with the next submission, so they get one that is not the copy's.
 */
function copyOut(gpu: Gpu, buffer: GPUBuffer, size: number): GPUBuffer {
  const { device } = gpu;
  const staging = device.createBuffer({ size, usage: MAP_READ | COPY_DST, mappedAtCreation: true });
  new Uint32Array(staging.getMappedRange()).fill(MARK);
  staging.unmap();
  device.queue.submit([]);
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, size);
  device.queue.submit([encoder.finish()]);
  gpu.unsubmittedBytes = 0;
  return staging;
}

/** Workgroups over two axes of at most `most` each: equal rows, so that the last one is hardly idle. */
export function fold(workgroups: number | [number, number], most: number): [number, number] {
  if (typeof workgroups !== "number") return workgroups;
  const rows = Math.max(1, Math.ceil(workgroups / most));
  if (rows > most) {
    throw new RangeError(
      `Cannot dispatch as workgroups must be at most ${most ** 2}: got ${workgroups}`,
    );
  }
  return [Math.ceil(workgroups / rows), rows];
}

/** Waits for the staging buffer and takes what is in it, unless something went wrong meanwhile. */
async function readMapped(gpu: Gpu, staging: GPUBuffer): Promise<Float32Array<ArrayBuffer>> {
  try {
    await staging.mapAsync(MAP_MODE_READ);
  } catch (cause) {
    await eventLoop(); // the loss of the device may be due
    rejectIfLost(gpu);
    throw refusal("read results back", cause as Error);
  }
  await eventLoop(); // the loss of the device may be due
  rejectIfLost(gpu);
  const fault = takeFault(gpu);
  if (fault) throw fault;
  const words = new Uint32Array(staging.getMappedRange().slice(0));
  if (words[0] === MARK) {
    throw new Error("Cannot read results back: the GPU dropped the work without a word");
  }
  return new Float32Array(words.buffer);
}

function findPipeline(
  gpu: Gpu,
  kernel: Kernel,
  constants: Record<string, number>,
): Promise<GPUComputePipeline> {
  const ofCode = gpu.pipelines.get(kernel.code) ?? new Map<string, Promise<GPUComputePipeline>>();
  gpu.pipelines.set(kernel.code, ofCode);
  const key = `${kernel.name} ${JSON.stringify(constants)}`;
  const found = ofCode.get(key);
  if (found) return found;
  const pipeline = compile(gpu, kernel, constants);
  ofCode.set(key, pipeline);
  pipeline.catch(() => ofCode.delete(key));
  return pipeline;
}

async function compile(
  gpu: Gpu,
  { name, code }: Kernel,
  constants: Record<string, number>,
): Promise<GPUComputePipeline> {
  let module: GPUShaderModule | undefined;
  try {
    await guarded(gpu, "compile", () => {
      module = gpu.device.createShaderModule({ label: name, code });
    });
    const compute = { module: module!, entryPoint: "main", constants };
    return await gpu.device.createComputePipelineAsync({ label: name, layout: "auto", compute });
  } catch (cause) {
    rejectIfLost(gpu);
    const message = await compilationMessage(cause as Error, module);
    const kernel = `kernel "${name}" ${JSON.stringify(constants)}`;
    throw new Error(`Cannot compile ${kernel}: ${message}`, { cause });
  }
}

/** Dawn's errors say line:column; Deno's module does, when asked (bun-webgpu's must not be). */
async function compilationMessage(error: Error, module?: GPUShaderModule): Promise<string> {
  const message = firstLine(error.message.replace(/^Cannot compile: /, ""));
  if (!module || /:\d+:\d+/.test(message) || !("Deno" in globalThis)) return message;
  const { messages } = await module.getCompilationInfo();
  const found = messages.find(({ type }) => type === "error");
  return found ? `${found.lineNum}:${found.linePos} ${firstLine(found.message)}` : message;
}

/** Submits an empty command buffer and waits: only a real submission frees what writes have staged. */
async function flush(gpu: Gpu): Promise<void> {
  gpu.device.queue.submit([gpu.device.createCommandEncoder().finish()]);
  gpu.unsubmittedBytes = 0;
  await gpu.device.queue.onSubmittedWorkDone();
  rejectIfLost(gpu);
}

/** The bytes themselves, or a copy of them: padded to whole words, and never in shared memory. */
function wholeWords(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (bytes.length % 4 === 0 && bytes.buffer instanceof ArrayBuffer) {
    return bytes as Uint8Array<ArrayBuffer>;
  }
  const padded = new Uint8Array(roundUp4(bytes.length));
  padded.set(bytes);
  return padded;
}

function wordBytes(word: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new Uint32Array([word]).buffer);
}

function roundUp4(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
