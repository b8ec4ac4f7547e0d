/**
 * Quantises one row of eight weights by hand, then by the library, with one scale and with two.
 *
 * You will see each weight, its level of the FP4 grid and what it comes back as. The positive weights
 * reach six times as far as the negative ones: a single scale has to span them all and rounds the
 * negative side to almost nothing, two scales use the whole grid on each side.
 *
 *   grid  0, 0.5, 1, 1.5, 2, 3, 4, 6, with a sign
 *   one   s = max |w| / 6                                            w' = level s
 *   two   s_pos = max(w, 0) / 6, s_neg = max(-w, 0) / 6 (AFPQ)       w' = level s_pos | level s_neg
 *
 *   deno run examples/quickstart.ts
 *
 * @module
 */
import {
  dequantize,
  groupScales,
  quantizationError,
  quantize,
  renderTable,
  rowCodes,
} from "../mod.ts";

const w = Float32Array.of(0.75, -0.125, 0.5, -0.0625, 0.25, -0.03125, 0.0625, -0.09375);
const row = { rows: 1, cols: w.length, group: "row" } as const;

const one = quantize(w, { ...row, format: "fp4-sym" });
const two = quantize(w, { ...row, format: "fp4-asym" });

/** The second scale by hand: the largest negative weight lies on the level -6. */
const byHand = 0.125 / 6;
const { positive, negative } = groupScales(two, 0, 0);
console.log(`one scale    ${groupScales(one, 0, 0).positive}`);
console.log(`two scales   ${positive} and ${negative} (by hand ${byHand}, rounded to f16)\n`);

const levels = (q: typeof one) => [...rowCodes(q, 0)].map((code) => q.format.levels[code]);
const [oneLevels, twoLevels] = [levels(one), levels(two)];
const [oneBack, twoBack] = [dequantize(one), dequantize(two)];
console.log(
  await renderTable([...w].map((weight, i) => ({
    weight,
    "level of one": oneLevels[i],
    "back from one": oneBack[i],
    "level of two": twoLevels[i],
    "back from two": twoBack[i],
  }))),
);

const squared = (q: typeof one) => quantizationError(q, w).squaredError;
console.log(`sum of squared errors: ${squared(one)} with one scale, ${squared(two)} with two`);
