/**
 * Weights by the three distributions that quantisers are compared on: normal, Laplace, and Student's t
 * with 5 degrees of freedom. Seeded, and the same on every runtime.
 *
 * @module
 */
import type { ChosenTensor } from "../lib/choose_tensors.ts";
import { createRandom } from "../lib/sampling.ts";

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
  const random = createRandom(1), next = () => 1 - random(); // never 0
  const draw = distributions[name];
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
