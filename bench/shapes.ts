/**
 * Layer shapes by name, [rows, cols] = [output features, input features], and the models that they are of.
 *
 * A model's decode is all its linears: in each layer q, k and v as one matrix, the output projection, gate
 * and up as one, and down; then the head. Each has `dim` rows or columns, so together they count as one
 * matrix [weights / dim, dim].
 *
 * @module
 */

/** What decides a model's linears. */
export interface Model {
  readonly name: string;
  readonly dim: number;
  readonly hidden: number;
  /** Rows of keys, and of values. */
  readonly kv: number;
  readonly layers: number;
  /** Rows of the head. */
  readonly vocab: number;
}

/** A matrix of a layer. */
export interface Shape {
  /** "" where it has none */
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
}

/** From the models' config.json. */
export const models: readonly Model[] = [
  { name: "llama-2-7b", dim: 4096, hidden: 11008, kv: 4096, layers: 32, vocab: 32000 },
  { name: "llama-2-13b", dim: 5120, hidden: 13824, kv: 5120, layers: 40, vocab: 32000 },
  { name: "llama-2-70b", dim: 8192, hidden: 28672, kv: 1024, layers: 80, vocab: 32000 },
  { name: "llama-3-8b", dim: 4096, hidden: 14336, kv: 1024, layers: 32, vocab: 128256 },
];

/** Each projection of a model by itself; q stands for the output projection too. */
export function projections({ name, dim, hidden, kv }: Model): Shape[] {
  const own = kv === dim ? [] : [{ name: `${name}.k`, rows: kv, cols: dim }];
  return [
    { name: `${name}.q`, rows: dim, cols: dim },
    ...own,
    { name: `${name}.up`, rows: hidden, cols: dim },
    { name: `${name}.down`, rows: dim, cols: hidden },
  ];
}

/** All named shapes. */
export const shapes: readonly Shape[] = models.flatMap(projections);

/** Unless told: those of the 7B model, and the largest of the 70B. */
export const usualShapes: readonly Shape[] = shapes.filter(
  ({ name }) => name.startsWith("llama-2-7b.") || name === "llama-2-70b.up",
);

/** The linears of a layer in the order in which a token meets them, and the head. */
export function linearsOf({ dim, hidden, kv, vocab }: Model): Shape[] {
  return [
    { name: "qkv", rows: dim + 2 * kv, cols: dim },
    { name: "output", rows: dim, cols: dim },
    { name: "gate and up", rows: 2 * hidden, cols: dim },
    { name: "down", rows: dim, cols: hidden },
    { name: "head", rows: vocab, cols: dim },
  ];
}

/** Which of these a token meets, one after the other: those of each layer, then the head. */
export function tokenOrder({ layers }: Model): number[] {
  return [...Array.from({ length: layers }, () => [0, 1, 2, 3]).flat(), 4];
}

/** Weights of some shapes, multiplied with in an order. */
export function weightsOf(shapes: readonly Shape[], order: readonly number[]): number {
  return order.reduce((sum, i) => sum + shapes[i].rows * shapes[i].cols, 0);
}

/** A shape or model a `part` as wide, whole units of 32 columns, for devices that are a CPU. */
export function shrunk<T extends Shape | Model>(shape: T, part: number): T {
  const cut = (size: number) => Math.max(32, Math.round(size / part / 32) * 32);
  const name = `${shape.name}/${part}`;
  if ("dim" in shape) {
    const { dim, hidden, kv, vocab } = shape;
    return { ...shape, name, dim: cut(dim), hidden: cut(hidden), kv: cut(kv), vocab: cut(vocab) };
  }
  return { ...shape, name, rows: cut(shape.rows), cols: cut(shape.cols) };
}
