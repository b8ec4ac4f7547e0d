/**
 * Every named format, and two that are not, on weights drawn from a normal distribution.
 *
 * You will see bits a weight and weight error at groups of 128, and then the fair comparison: a second
 * scale costs 16 bits a group, and so do groups half as long. On weights without a skew the two come
 * to the same; where one side spreads wider than the other, two scales win at equal bits.
 *
 *   bits a weight = bits of codes, scales and codebook / weights
 *   weight error  = sum((w' - w)^2) / sum(w^2)
 *
 *   deno run examples/formats.ts
 *
 * @module
 */
import {
  bitsPerWeight,
  formatNames,
  type Group,
  nmseOf,
  quantizationError,
  quantize,
  renderTable,
} from "../mod.ts";

const rows = 256, cols = 1024;
const even = normalWeights(() => 1);
const skewed = normalWeights((w) => w > 0 ? 1.5 : 1 / 1.5);

/** Bits a weight and weight error of W [rows, cols]. */
function measure(w: Float32Array, format: string, group: Group = 128) {
  const q = quantize(w, { rows, cols, format, group });
  return { bits: bitsPerWeight(q), error: nmseOf(quantizationError(q, w)) };
}

const formats = [...formatNames, "e1m2-asym", "custom:-1,-0.5,-0.2,0,0.2,0.5,1-asym"];
const table = formats.map((format) => {
  const { bits, error } = measure(even, format);
  return { format, "bits/weight": bits, "weight error": error };
});
console.log(await renderTable(table));

console.log("The same bits, as two scales a group of 128 or one a group of 64: weight error\n");
const matched = Object.entries({ even, skewed }).flatMap(([weights, w]) =>
  ["nf4", "nf3"].map((family) => ({
    weights,
    family,
    "two, g128": measure(w, `${family}-asym`, 128).error,
    "one, g64": measure(w, `${family}-sym`, 64).error,
  }))
);
console.log(await renderTable(matched));

/** Normal numbers, each times what `stretch` says of it (Box and Muller, seeded). */
function normalWeights(stretch: (w: number) => number): Float32Array {
  let state = 1;
  const random = () => (state = Math.imul(state, 48271) >>> 0) / 2 ** 32 || 2 ** -33;
  return Float32Array.from({ length: rows * cols }, () => {
    const w = Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
    return w * stretch(w);
  });
}
