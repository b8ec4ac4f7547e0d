/**
 * Weights by the three distributions that quantisers are compared on: normal, Laplace, and Student's t
 * with 5 degrees of freedom. Seeded, and the same on every runtime.
 *
 * @module
 */
import type { ChosenTensor } from "../lib/choose_tensors.ts";

/** Uniform numbers in (0, 1] (mulberry32). */
function uniform(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return 1 - ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function normal(next: () => number): number {
  return Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
}

function laplace(next: () => number): number {
  return Math.log(next() / next());
}

/** Normal over the root of a mean of five squares. */
function student(next: () => number): number {
  let squares = 0;
  for (let i = 0; i < 5; i++) squares += normal(next) ** 2;
  return normal(next) / Math.sqrt(squares / 5);
}

/** The distributions by name. */
export const distributions = { normal, laplace, student } as const;

/** A matrix W [rows, cols] of such weights, as a checkpoint would hold it in f32. */
export function madeTensor(
  name: keyof typeof distributions,
  { rows, cols }: { rows: number; cols: number },
): ChosenTensor {
  const next = uniform(1), draw = distributions[name];
  const w = Float32Array.from({ length: rows * cols }, () => draw(next));
  const bytes = new Uint8Array(w.buffer);
  const tensor: ChosenTensor["tensor"] = {
    name,
    dtype: "F32",
    shape: [rows, cols],
    begin: 0,
    end: bytes.length,
    file: "",
    bytes: () => Promise.resolve(bytes),
    async *chunks() {
      yield await Promise.resolve(bytes);
    },
  };
  return { tensor, rows, cols, dtype: "F32" };
}
