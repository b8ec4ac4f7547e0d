/**
 * Chains of products by llama.cpp: its CPU kernels and its Vulkan ones, as compiled in npm packages
 * (llama.cpp v0.5.0), called through the runtime's FFI.
 *
 *   tensors   X [tokens, cols] in f32; matrices in a type's blocks, row by row, by its own quantiser
 *   graph     mul_mat(W, X), 2 x pairs of them, computed by one backend
 *
 * On a CPU activations are rounded to 8 bits; the build of the kernels is the one that says it suits the
 * machine best. ggml ends the process where it cannot go on, and prints why.
 *
 * Linux on x64 with glibc alone, which is what the packages are for.
 *
 * @module
 */
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { narrow, widen } from "../lib/float16.ts";
import { capturingStderr, openLibrary, withEnvironment } from "../lib/native.ts";
import { locateNpm } from "../lib/npm.ts";
import { type Chain, type ChainShape, type ChainWeights, once, type Peer } from "./chain.ts";
import { bytesOf, type Ggml, ggmlBits, ggmlTypes, openGgml } from "./llama_cpp.ts";

type Library = Awaited<ReturnType<typeof openLibrary>>;

/** ggml's functions, and a backend that computes by them. */
interface Backend {
  /** Those that return pointers and sizes, and nothing. */
  readonly pointers: Library;
  readonly compute: Library;
  readonly backend: number;
}

/** Numbers of ggml.h for what is no type of blocks. */
const F32 = 0, F16 = 1;
const NAMES = ["F16", "Q4_0", "IQ4_NL", "Q4_K"] as const;
type TypeName = typeof NAMES[number];

/** Room for what ggml notes of tensors and graph, without their numbers. */
const NOTES_BYTES = 2 ** 20;

const POINTERS: Record<string, ("usize" | "i32" | "i64" | "buffer")[]> = {
  // its one argument is a struct of 24 bytes, which x64 passes on the stack, as it does a seventh,
  // eighth and ninth number: { memory, where, whether numbers have none }
  ggml_init: new Array(9).fill("usize"),
  ggml_free: ["usize"],
  ggml_new_tensor_2d: ["usize", "i32", "i64", "i64"],
  ggml_mul_mat: ["usize", "usize", "usize"],
  ggml_new_graph: ["usize"],
  ggml_build_forward_expand: ["usize", "usize"],
  ggml_backend_alloc_ctx_tensors: ["usize", "usize"],
  ggml_backend_buffer_free: ["usize"],
  ggml_backend_tensor_set: ["usize", "buffer", "usize", "usize"],
  ggml_backend_tensor_get: ["usize", "buffer", "usize", "usize"],
};

/**
 * What llama.cpp's CPU kernels do here.
 *
 * @throws {Error} where package or FFI is missing, in one line
 */
export async function ggmlCpuPeers(threads = availableParallelism()): Promise<Peer[]> {
  const ggml = await openGgml();
  const folder = await folderOf("@node-llama-cpp/linux-x64", "linux-x64");
  const build = await bestBuild(folder);
  const cpu = await openLibrary(build, { ggml_backend_cpu_init: [] }, "usize");
  const backend = cpu.ggml_backend_cpu_init();
  const { ggml_backend_cpu_set_n_threads } = await openLibrary(build, {
    ggml_backend_cpu_set_n_threads: ["usize", "i32"],
  });
  ggml_backend_cpu_set_n_threads(backend, threads);
  return peersOf("CPU", ggml, await withBase(folder, backend));
}

/**
 * What llama.cpp's Vulkan kernels do here; `software`, on a CPU that plays a GPU, which it leaves alone
 * unless told, and then one token at a time: LLVM compiles kernels for more for a quarter of an hour.
 *
 * @throws {Error} where package, FFI, Vulkan or a device is missing, in one line
 */
export async function ggmlVulkanPeers(software: boolean): Promise<Peer[]> {
  const ggml = await openGgml();
  const folder = await folderOf("@node-llama-cpp/linux-x64-vulkan", "linux-x64-vulkan");
  const open = async () => {
    const path = `${folder}libggml-vulkan.so`;
    const names = {
      ggml_backend_vk_get_device_count: [],
      ggml_backend_vk_init: ["usize" as const],
    };
    const vulkan = await openLibrary(path, names, "usize");
    const devices = vulkan.ggml_backend_vk_get_device_count() % 2 ** 32; // an int in a register
    if (devices === 0) {
      throw new Error("Cannot run llama.cpp on Vulkan as there must be a device: got none");
    }
    return vulkan.ggml_backend_vk_init(0);
  };
  const shown: Record<string, string> = software ? { GGML_VK_VISIBLE_DEVICES: "0" } : {};
  const { result } = await capturingStderr(() => withEnvironment(shown, open));
  const all = peersOf("Vulkan", ggml, await withBase(folder, result));
  return software ? all.map(oneToken) : all;
}

function oneToken(peer: Peer): Peer {
  return {
    ...peer,
    async make(shape, weights) {
      if (shape.tokens === 1) return await peer.make(shape, weights);
      throw new RangeError(
        `where the CPU plays the GPU it is tried with 1 token, not ${shape.tokens}`,
      );
    },
  };
}

async function folderOf(name: Parameters<typeof locateNpm>[0], bins: string): Promise<string> {
  return fileURLToPath(new URL(`../bins/${bins}/`, await locateNpm(name)));
}

/** The build of the CPU kernels that gives itself the highest score here. */
async function bestBuild(folder: string): Promise<string> {
  const names = readdirSync(folder).filter((name) => /^libggml-cpu-.*\.so$/.test(name)).sort();
  let best = { score: 0, path: "" };
  for (const name of names) {
    const path = folder + name;
    const { ggml_backend_score } = await openLibrary(path, { ggml_backend_score: [] });
    const score = ggml_backend_score();
    if (score > best.score) best = { score, path };
  }
  return best.path;
}

async function withBase(folder: string, backend: number): Promise<Backend> {
  const path = `${folder}libggml-base.so`;
  const pointers = await openLibrary(path, POINTERS, "usize");
  const compute = await openLibrary(path, { ggml_backend_graph_compute: ["usize", "usize"] });
  return { pointers, compute, backend };
}

function peersOf(on: string, ggml: Ggml, backend: Backend): Peer[] {
  return NAMES.map((type) => ({
    by: "llama.cpp v0.5.0",
    on,
    format: type,
    make: (shape, weights) => Promise.resolve(ggmlChain(ggml, backend, type, shape, weights)),
  }));
}

function ggmlChain(
  ggml: Ggml,
  { pointers: c, compute, backend }: Backend,
  type: TypeName,
  { rows, cols, tokens, pairs }: ChainShape,
  weights: ChainWeights,
): Chain {
  const up = store(ggml, type, weights.up, rows, cols);
  const down = store(ggml, type, weights.down, cols, rows);
  const notes = c.ggml_init(0, 0, 0, 0, 0, 0, NOTES_BYTES, 0, 1);
  const x = c.ggml_new_tensor_2d(notes, F32, cols, tokens);
  const matrices: { tensor: number; bytes: Uint8Array<ArrayBuffer> }[] = [];
  let last = x;
  const id = type === "F16" ? F16 : ggmlTypes[type].id;
  const multiply = (bytes: Uint8Array<ArrayBuffer>, rows: number, cols: number) => {
    const tensor = c.ggml_new_tensor_2d(notes, id, cols, rows);
    matrices.push({ tensor, bytes });
    last = c.ggml_mul_mat(notes, tensor, last);
  };
  for (let pair = 0; pair < pairs; pair++) {
    multiply(up.bytes, rows, cols);
    multiply(down.bytes, cols, rows);
  }
  const graph = c.ggml_new_graph(notes);
  c.ggml_build_forward_expand(graph, last);
  const buffer = c.ggml_backend_alloc_ctx_tensors(notes, backend);
  if (buffer === 0) throw new Error(`Cannot run ${type} as there must be memory for it: got none`);
  for (const { tensor, bytes } of matrices) {
    c.ggml_backend_tensor_set(tensor, bytes, 0, bytes.length);
  }
  return {
    bitsPerWeight: type === "F16" ? 16 : ggmlBits(type),
    weights: () => ({ up: up.values(), down: down.values() }),
    run(values) {
      const y = new Float32Array(tokens * cols);
      c.ggml_backend_tensor_set(x, bytesOf(values), 0, values.byteLength);
      const status = compute.ggml_backend_graph_compute(backend, graph);
      if (status !== 0) return Promise.reject(new Error(`ggml ended with status ${status}`));
      c.ggml_backend_tensor_get(last, bytesOf(y), 0, y.byteLength);
      return Promise.resolve(y);
    },
    free() {
      c.ggml_backend_buffer_free(buffer);
      c.ggml_free(notes);
    },
  };
}

/** A matrix in a type's blocks. */
interface Stored {
  readonly bytes: Uint8Array<ArrayBuffer>;
  values(): Float32Array<ArrayBuffer>;
}

function store(
  ggml: Ggml,
  type: TypeName,
  w: Float32Array<ArrayBuffer>,
  rows: number,
  cols: number,
): Stored {
  if (type === "F16") {
    const bytes = once(w, type, () => narrow(w, type));
    return { bytes, values: () => widen(bytes, type) };
  }
  const shape = { rows, cols, type };
  const bytes = once(w, type, () => ggml.quantize(w, shape));
  return { bytes, values: () => ggml.dequantize(bytes, shape) };
}
