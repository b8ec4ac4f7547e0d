/**
 * Chains of products by ONNX Runtime, which transformers.js runs: its WebGPU kernels (on a Dawn of its
 * own) and its CPU kernels, out of the npm package. Where a node would not run where it is asked to, there
 * is no chain.
 *
 *   MatMulNBits   w = (q - 8) s, q of 4 bits two a byte, the lower half first; groups of 32
 *   MatMulBnb4    w = level(q) s as bitsandbytes has nf4, the upper half first; groups of 64
 *   MatMul        dense, W^T [cols, rows]
 *
 * Codes and scales are those that our quantiser chooses for int4-sym and nf4-sym; scales are of the
 * activations' type. "8-bit x" is accuracy level 4, which may multiply activations as bytes and is what
 * models are mostly exported with; "f16 x" computes in f16 throughout.
 *
 * @module
 */
import { availableParallelism } from "node:os";
import { narrow, widen } from "../lib/float16.ts";
import { capturingStderr } from "../lib/native.ts";
import { loadNpm, npmPins } from "../lib/npm.ts";
import { dequantize, groupScales, quantize, rowCodes } from "../lib/quantizer.ts";
import { type Chain, type ChainShape, type ChainWeights, once, type Peer } from "./chain.ts";
import { onnxModel, type OnnxStep, type OnnxTensor, onnxTypes } from "./onnx_model.ts";

const NAME = "onnxruntime-node";

/** The little of the package that is used here. */
interface OnnxRuntime {
  readonly InferenceSession: {
    create(model: Uint8Array, options: Record<string, unknown>): Promise<Session>;
  };
  readonly Tensor: new (
    type: string,
    data: Float32Array,
    shape: readonly number[],
  ) => { readonly data: Float32Array };
}

interface Session {
  run(feeds: Record<string, unknown>): Promise<{ readonly y: { readonly data: Float32Array } }>;
  release(): Promise<void>;
}

/** What one of its chains computes with. */
interface Way {
  readonly on: "WebGPU" | "CPU";
  readonly weights: "int4" | "nf4" | "f16";
  readonly half: boolean;
  /** 4 where activations may be bytes. */
  readonly accuracyLevel: 0 | 4;
}

/** A matrix as one of its operators takes it. */
interface Stored {
  readonly product: OnnxStep;
  readonly bitsPerWeight: number;
  values(): Float32Array<ArrayBuffer>;
}

const exact = { half: false, accuracyLevel: 0 } as const;
const WAYS: readonly Way[] = [
  { on: "WebGPU", weights: "int4", ...exact },
  { on: "WebGPU", weights: "int4", half: false, accuracyLevel: 4 },
  { on: "WebGPU", weights: "int4", half: true, accuracyLevel: 0 },
  { on: "WebGPU", weights: "nf4", ...exact },
  { on: "WebGPU", weights: "f16", half: true, accuracyLevel: 0 },
  { on: "CPU", weights: "int4", ...exact },
  { on: "CPU", weights: "int4", half: false, accuracyLevel: 4 },
  { on: "CPU", weights: "nf4", ...exact },
];

/**
 * What ONNX Runtime does here.
 *
 * @throws {Error} where the package cannot be had, in one line
 */
export async function onnxPeers(): Promise<Peer[]> {
  const onnx = await loadNpm<OnnxRuntime>(NAME);
  return WAYS.map((way) => ({
    by: `ONNX Runtime ${npmPins[NAME]}`,
    on: way.on,
    format: formatText(way),
    make: (shape, weights) => onnxChain(onnx, way, shape, weights),
  }));
}

function formatText({ weights, half, accuracyLevel }: Way): string {
  const format = { int4: "int4-sym g32", nf4: "nf4-sym g64", f16: "f16" }[weights];
  const x = accuracyLevel === 4 ? ", 8-bit x" : half ? ", f16 x" : "";
  return format + x;
}

async function onnxChain(
  { InferenceSession, Tensor }: OnnxRuntime,
  way: Way,
  { rows, cols, tokens, pairs }: ChainShape,
  { up, down }: ChainWeights,
): Promise<Chain> {
  const first = store(way, up, rows, cols);
  const second = store(way, down, cols, rows);
  const products = Array.from({ length: pairs }, () => [first.product, second.product]).flat();
  const steps = way.half ? [castTo("float16"), ...products, castTo("float32")] : products;
  const model = onnxModel({ tokens, cols, steps });
  const { result: session } = await capturingStderr(() =>
    InferenceSession.create(model, {
      executionProviders: [way.on.toLowerCase()],
      intraOpNumThreads: availableParallelism(),
      logSeverityLevel: 3,
      extra: { session: { disable_cpu_ep_fallback: way.on === "WebGPU" ? "1" : "0" } },
    })
  );
  return {
    bitsPerWeight: first.bitsPerWeight,
    weights: () => ({ up: first.values(), down: second.values() }),
    async run(x) {
      const { y } = await session.run({ x: new Tensor("float32", x, [tokens, cols]) });
      return y.data;
    },
    free: () => session.release(),
  };
}

/** Between f32 outside and f16 inside: tensors of f16 end Deno 2.9.5. */
function castTo(type: "float16" | "float32"): OnnxStep {
  return { operator: "Cast", domain: "", attributes: { to: onnxTypes[type] }, weights: [] };
}

function store(way: Way, w: Float32Array<ArrayBuffer>, rows: number, cols: number): Stored {
  if (way.weights === "f16") return storeDense(w, rows, cols);
  const group = way.weights === "int4" ? 32 : 64;
  if (cols % group !== 0) {
    throw new RangeError(
      `Cannot store [${rows}, ${cols}] as columns must be a multiple of ${group}`,
    );
  }
  const format = `${way.weights}-sym`;
  const q = once(w, `${format} g${group}`, () => quantize(w, { rows, cols, format, group }));
  const codes = new Uint8Array(rows * cols / 2), scales = new Float32Array(rows * cols / group);
  const [low, high, offset] = way.weights === "int4" ? [0, 1, 1] : [1, 0, 0]; // -7 is 1 of 0 .. 15
  for (let row = 0; row < rows; row++) {
    const own = rowCodes(q, row), start = row * cols / 2;
    for (let i = 0; i < cols; i += 2) {
      codes[start + i / 2] = own[i + low] + offset | (own[i + high] + offset) << 4;
    }
    for (let i = 0; i < cols / group; i++) {
      scales[row * cols / group + i] = groupScales(q, row, i).positive;
    }
  }
  const shape = { K: cols, N: rows, block_size: group };
  const [operator, attributes, codesShape] = way.weights === "int4"
    ? [
      "MatMulNBits",
      { ...shape, bits: 4, accuracy_level: way.accuracyLevel },
      [rows, cols / group, group / 2],
    ]
    : ["MatMulBnb4", { ...shape, quant_type: 1 }, [codes.length]];
  const weights: OnnxTensor[] = [
    { type: "uint8", shape: codesShape, bytes: codes },
    {
      type: way.half ? "float16" : "float32",
      shape: [scales.length],
      bytes: narrow(scales, way.half ? "F16" : "F32"),
    },
  ];
  const scaleBits = way.half ? 16 : 32;
  return {
    product: { operator, domain: "com.microsoft", attributes, weights },
    bitsPerWeight: 4 + scaleBits / group,
    values: () => dequantize(q),
  };
}

/** A dense matrix in f16, its transpose as MatMul wants it. */
function storeDense(w: Float32Array<ArrayBuffer>, rows: number, cols: number): Stored {
  const transposed = new Float32Array(w.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < cols; column++) {
      transposed[column * rows + row] = w[row * cols + column];
    }
  }
  const tensor = {
    type: "float16",
    shape: [cols, rows],
    bytes: narrow(transposed, "F16"),
  } as const;
  return {
    product: { operator: "MatMul", domain: "", attributes: {}, weights: [tensor] },
    bitsPerWeight: 16,
    values: () => widen(once(w, "F16", () => narrow(w, "F16")), "F16"),
  };
}
