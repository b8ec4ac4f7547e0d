/**
 * GPTQ (arXiv 2210.17323): rounds W [rows, cols] column after column, and lets the columns that are
 * left make up for what was lost, as the inputs' second moments H [cols, cols] say.
 *
 *   minimise  sum over rows of (w' - w) H (w' - w)^T          the error of the layer's output
 *   U         upper triangular, H^-1 = U^T U, H damped by 1 % of its mean diagonal
 *   column j  q = round(w_j), e = (w_j - q) / U_jj, w_k -= e U_jk for the columns k > j
 *
 * Columns go in blocks of 128: inside a block feedback is immediate, beyond it one product a block.
 * A group's scales are found when its first column is reached, from weights that hold all feedback
 * so far, also in the middle of a block. With `actOrder` columns are visited by H's diagonal,
 * largest first; groups then keep their columns and scales come from W as it was (static groups),
 * and every code is stored in its own place, so that nothing in the file tells of the order.
 *
 * Of coded scales (scale_format.ts) the factor comes from W as it was, since many groups share it; a
 * group's code is searched for again when its first column is reached.
 *
 * With `clip` scales lose least of what GPTQ itself minimises: column j counts 1 / U_jj^2. A column
 * whose input was never other than 0 takes no part in the feedback and is rounded to nearest. With
 * a diagonal H no column does, and the result is that of `quantize()`, bit for bit.
 *
 * @module
 */

import { chooserOf } from "./coded_scales.ts";
import { type Format, format as formatOf } from "./format.ts";
import { fitGroups, packCodes, roundingOf, type StoredScales } from "./group_rounding.ts";
import { gather, sidesOf } from "./group_sides.ts";
import { expectGroup, type Group, groupsPerRow, type QuantizedMatrix } from "./pack.ts";
import { groupExtremes, quantize, trueScales } from "./quantizer.ts";
import { openMatrix, repack, rowScales } from "./repack.ts";
import type { ScaleFormat } from "./scale_format.ts";
import { invertUpper, type Symmetric, upperFactor } from "./triangular.ts";

/** What {@linkcode gptq} wants to know beside W and H. */
export interface GptqOptions {
  readonly rows: number;
  readonly cols: number;
  /** A format or its name. */
  readonly format: Format | string;
  /** Columns that share scales, 128 unless told. */
  readonly group?: Group;
  readonly name?: string;
  /** Added to H's diagonal, as a share of its mean; 0.01 unless told. */
  readonly damping?: number;
  /** Visit columns by H's diagonal, largest first. */
  readonly actOrder?: boolean;
  /** Let scales clip where that loses less. */
  readonly clip?: boolean;
  /** How scales are stored, as f16 unless told. */
  readonly scales?: ScaleFormat;
  /** The true factor of a tensor's coded scales, where several tensors are to share it. */
  readonly factor?: number;
}

/** A matrix, and how many of its weights feedback had pushed beyond what their group can hold. */
export interface GptqResult {
  readonly matrix: QuantizedMatrix;
  readonly saturated: number;
}

/** Columns between two products that carry feedback on. */
const BLOCK = 128;

/**
 * Quantises W [rows, cols], row-major, for inputs of second moments H [cols, cols], in any unit.
 *
 * @throws {TypeError} if W or H does not hold what rows and cols say
 * @throws {RangeError} if a weight or a moment is NaN or infinite, or H is not positive
 *
 * @example Usage
 * ```ts
 * import { gptq } from "./gptq.ts";
 * import { dequantize } from "./quantizer.ts";
 * import assert from "node:assert/strict";
 *
 * // two inputs that are always equal: what the first weight loses the second gives back
 * const h = Float64Array.of(1, 1, 1, 1);
 * const options = { rows: 1, cols: 2, format: "custom:-1,0,1-sym", group: "row" } as const;
 * const { matrix } = gptq(Float32Array.of(0.4, 1), h, options);
 * assert.deepEqual(dequantize(matrix), Float32Array.of(0, 1));
 * ```
 */
export function gptq(w: Float32Array, h: Symmetric, options: GptqOptions): GptqResult {
  const { rows, cols, group = 128, name = "", damping = 0.01, actOrder = false } = options;
  const format = typeof options.format === "string" ? formatOf(options.format) : options.format;
  expectGroup(group);
  expectSizes(w, h, { rows, cols, name });
  const coded = options.scales && options.scales.bits < 16
    ? quantize(w, { ...options, format, clip: true })
    : null;
  const shape = { rows, cols, format, group };
  const order = actOrder ? byDiagonal(h, cols) : null;
  const u = feedback(h, cols, { damping, order, name });
  const importance = options.clip ? ownLosses(u, cols, order) : null;
  const stored = coded
    ? { pairs: openMatrix(coded).scales, scaleExponent: 0, underflows: coded.underflows }
    : fitGroups(w, shape, { name, importance: order && importance });
  return walk(w, stored, { shape, name, u, order, importance, coded });
}

/** What the walk over the columns needs. */
interface Walk {
  readonly shape: { rows: number; cols: number; format: Format; group: Group };
  readonly name: string;
  /** [cols, cols], in the order of the visit. */
  readonly u: Float64Array;
  /** Columns in the order of the visit; null as they lie. */
  readonly order: Uint32Array | null;
  /** [cols] */
  readonly importance: Float64Array | null;
  /** Plain rounding with coded scales, whose factors stay; null where scales are f16. */
  readonly coded: QuantizedMatrix | null;
}

function walk(w: Float32Array, stored: StoredScales, job: Walk): GptqResult {
  const { shape: { rows, cols, format }, u, order } = job;
  const rest = Float64Array.from(w, (_, i) => w[order ? i - i % cols + order[i % cols] : i]);
  const codes = new Uint8Array(rows * cols);
  const errors = new Float64Array(rows * BLOCK);
  const scales = { ...stored, pairs: stored.pairs.slice() };
  const underflows = order ? stored.underflows : 0; // else counted as groups are reached
  const state = { rest, codes, errors, scales, saturated: 0, underflows };
  const round = roundingOf(format, stored.scaleExponent);
  for (let first = 0; first < cols; first += BLOCK) {
    const end = Math.min(first + BLOCK, cols);
    for (let row = 0; row < rows; row++) roundBlock(state, job, round, { row, first, end });
    carryOn(rest, errors, u, { rows, cols, first, end });
  }
  const { coded } = job;
  if (coded) {
    return { matrix: repack(coded, { codes, scales: scales.pairs }), saturated: state.saturated };
  }
  const kept = { ...scales, underflows: state.underflows };
  return { matrix: packCodes(codes, kept, job.shape, job.name), saturated: state.saturated };
}

/** Weights that are left, codes that are there, and the errors of the block. */
interface State {
  /** [rows, cols], in the order of the visit. */
  readonly rest: Float64Array;
  /** [rows, cols], in place. */
  readonly codes: Uint8Array;
  /** [rows, BLOCK] */
  readonly errors: Float64Array;
  readonly scales: StoredScales;
  saturated: number;
  underflows: number;
}

/** One row through the columns of a block. */
function roundBlock(
  state: State,
  job: Walk,
  round: ReturnType<typeof roundingOf>,
  { row, first, end }: { row: number; first: number; end: number },
): void {
  const { shape, u, order } = job;
  const { cols } = shape;
  const { rest, codes, errors, scales: { pairs } } = state;
  const width = shape.group === "row" ? cols : shape.group;
  const groups = groupsPerRow(shape);
  const at = row * cols;
  for (let j = first; j < end; j++) {
    const column = order ? order[j] : j;
    if (!order && j % width === 0) refresh(state, job, row, j);
    const pair = 2 * (row * groups + Math.floor(column / width));
    const { code, value, saturated } = round(rest[at + j], pairs, pair);
    codes[at + column] = code;
    if (saturated) state.saturated++;
    const error = (rest[at + j] - value) / u[j * cols + j];
    errors[row * BLOCK + j - first] = error;
    for (let k = j + 1; k < end; k++) rest[at + k] -= error * u[j * cols + k];
  }
}

/** Finds the scales of the group that begins at column `at` anew, from the weights as they are. */
function refresh(state: State, job: Walk, row: number, at: number): void {
  const { shape, importance, name, coded } = job, { cols, format } = shape;
  const width = shape.group === "row" ? cols : shape.group;
  const w = Float32Array.from(
    state.rest.subarray(row * cols + at, row * cols + Math.min(at + width, cols)),
  );
  const { scaleExponent, pairs } = state.scales;
  const pair = 2 * (row * groupsPerRow(shape) + at / width);
  const own = { rows: 1, cols: w.length, format, group: "row" as const };
  if (coded) return pairs.set(codedPair(coded, row, w, name), pair);
  const fitted = fitGroups(w, own, {
    name,
    scaleExponent,
    importance: importance?.subarray(at, at + w.length),
  });
  state.underflows += fitted.underflows;
  pairs.set(fitted.pairs, pair);
}

/** Coded scales of a group's weights, by the factor that row of `coded` has. */
function codedPair(
  { scaleFormat, format, ...q }: QuantizedMatrix,
  row: number,
  w: Float32Array,
  name: string,
): Float64Array {
  const own = { rows: 1, cols: w.length, format, group: "row", scaleFormat } as const;
  const sides = sidesOf(own), wanted = trueScales(groupExtremes(w, own, name), format);
  const pairs = wanted.slice(), scales = rowScales({ ...q, format, scaleFormat }, row);
  gather(w, 0, w.length, sides);
  chooserOf(own, { sides, scales, wanted, pairs, clip: true })(0);
  if (format.scaling === "one") pairs[1] = pairs[0];
  return pairs;
}

/** What the errors of a block are to the columns beyond it: W -= E U. */
function carryOn(
  rest: Float64Array,
  errors: Float64Array,
  u: Float64Array,
  { rows, cols, first, end }: { rows: number; cols: number; first: number; end: number },
): void {
  for (let row = 0; row < rows; row++) {
    const at = row * cols, e = row * BLOCK - first;
    for (let j = first; j < end; j += 4) {
      const [a, b, c, d] = [0, 1, 2, 3].map((i) => j + i < end ? errors[e + j + i] : 0);
      const [ua, ub, uc, ud] = [0, 1, 2, 3].map((i) => Math.min(j + i, end - 1) * cols);
      if (a === 0 && b === 0 && c === 0 && d === 0) continue;
      for (let k = end; k < cols; k++) {
        rest[at + k] -= (a * u[ua + k] + b * u[ub + k]) + (c * u[uc + k] + d * u[ud + k]);
      }
    }
  }
}

/** Columns by the diagonal of H, largest first, of equals the one that lies first. */
function byDiagonal(h: Symmetric, cols: number): Uint32Array {
  const own = (column: number) => h[column * cols + column];
  return Uint32Array.from({ length: cols }, (_, column) => column)
    .sort((a, b) => own(b) - own(a) || a - b);
}

/** U of the damped H; damping grows tenfold until H is positive. */
function feedback(
  h: Symmetric,
  cols: number,
  { damping, order, name }: { damping: number; order: Uint32Array | null; name: string },
): Float64Array {
  const own = (column: number) => order ? order[column] : column;
  const ordered = Float64Array.from(h, (value, i) => {
    return order ? h[own(Math.floor(i / cols)) * cols + own(i % cols)] : value;
  });
  let mean = 0;
  for (let j = 0; j < cols; j++) mean += ordered[j * cols + j] / cols;
  for (let share = damping, added = 0; share <= 1; share = Math.max(10 * share, 1e-6)) {
    const more = share * (mean || 1) - added;
    added += more;
    for (let j = 0; j < cols; j++) ordered[j * cols + j] += more;
    const r = upperFactor(ordered, cols);
    if (r) return invertUpper(r, cols);
  }
  throw new RangeError(
    `Cannot quantise "${name}" [, ${cols}] as H must be positive: got one that damping cannot mend`,
  );
}

/** 1 / U_jj^2, what an error in column j costs once the others have made up for it: [cols]. */
function ownLosses(u: Float64Array, cols: number, order: Uint32Array | null): Float64Array {
  const losses = new Float64Array(cols);
  for (let j = 0; j < cols; j++) losses[order ? order[j] : j] = 1 / u[j * cols + j] ** 2;
  return losses;
}

function expectSizes(
  w: Float32Array,
  h: Symmetric,
  { rows, cols, name }: { rows: number; cols: number; name: string },
): void {
  const fault = w.length !== rows * cols
    ? ["W", `${rows * cols} numbers`, w.length]
    : h.length !== cols * cols
    ? ["H", `[${cols}, ${cols}]`, h.length]
    : !h.every(Number.isFinite)
    ? ["H", "finite", h.find((value) => !Number.isFinite(value))]
    : null;
  if (!fault) return;
  const error = fault[1] === "finite" ? RangeError : TypeError;
  throw new error(
    `Cannot quantise "${name}" [${rows}, ${cols}] as ${fault[0]} must be ${fault[1]}: got ${
      fault[2]
    }`,
  );
}
