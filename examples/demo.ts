/**
 * Quantises a real language model, 5.2 M parameters, in every format, then multiplies with its packed
 * layers on this machine's GPU.
 *
 * You will see
 *   - two scales a group of 128 beside one scale a group of 64: the same bits, hence the fair match
 *   - bits a weight and weight error of the twelve named formats at groups of 128
 *   - products of packed layers with 1, 2 and 17 tokens against the TypeScript reference
 *
 * weight error = sum((w' - w)^2) / sum(w^2) over the 42 linears of the decoder; products are told in
 * units of their bound, 16 * 2^-24 * the sum of magnitudes (lib/linear_reference.ts): above 1 is wrong.
 *
 *   deno task demo
 *   deno run --allow-ffi http://HOST/examples/demo.ts
 *
 * @module
 */
import {
  bitsPerWeight,
  checkMatrix,
  type Device,
  formatNames,
  type Group,
  nmseOf,
  openDevice,
  quantizationError,
  quantize,
  renderTable,
  type Row,
  sumErrors,
} from "../mod.ts";
import { tinyLlama } from "./tiny_llama.ts";

const linears = await tinyLlama();
const weights = linears.reduce((sum, { w }) => sum + w.length, 0);

/** Bits a weight and weight error of the whole model in one format. */
function measure(format: string, group: Group): { bits: number; error: number } {
  let bits = 0;
  const errors = linears.map(({ w, ...shape }) => {
    const q = quantize(w, { ...shape, format, group });
    bits += bitsPerWeight(q) * w.length;
    return quantizationError(q, w);
  });
  return { bits: bits / weights, error: nmseOf(sumErrors(errors)) };
}

console.log(`tiny-llama: ${linears.length} linears, ${weights} weights\n`);
console.log("Two scales a group, or groups half as long? At the same bits:\n");
const matched: Row[] = ["nf4", "nf3", "fp4", "fp3"].map((family) => {
  const [two, one] = [measure(`${family}-asym`, 128), measure(`${family}-sym`, 64)];
  return {
    format: family,
    "bits/weight": two.bits,
    "error, two scales, g128": two.error,
    "error, one scale, g64": one.error,
    "two / one": two.error / one.error,
  };
});
console.log(await renderTable(matched));

console.log("Every format, groups of 128:\n");
const all: Row[] = formatNames.map((format) => {
  const { bits, error } = measure(format, 128);
  return { format, "bits/weight": bits, "weight error": error };
});
console.log(await renderTable(all));

console.log(
  "Packed layers on the device against the reference, worst error in units of the bound:\n",
);
const device = await openFast();
const checked: Row[] = [
  await check("nf4-asym", /[qo]_proj/),
  await check("fp4-asym", /[kv]_proj/),
  await check("nf3-sym", /(gate|up)_proj/),
];
device.close();
console.log(await renderTable(checked));
console.log(`ran on ${device.adapter}, ${device.backend} through binding "${device.binding}"`);

/** The best device, but not OpenGL in software, which takes most of a minute to compile a kernel. */
async function openFast(): Promise<Device> {
  const device = await openDevice({ log: (line) => console.error(line) });
  if (device.backend !== "gl" || !device.software) return device;
  console.error("Only OpenGL in software here: the TypeScript backend does the work");
  device.close();
  return await openDevice({ binding: "cpu" });
}

/** The worst output of all layers of one shape, by batch. */
async function check(format: string, names: RegExp): Promise<Row> {
  const layers = linears.filter(({ name }) => names.test(name));
  const worst: Record<string, number> = {};
  for (const { w, ...shape } of layers) {
    for (const product of await checkMatrix(device, quantize(w, { ...shape, format }))) {
      const title = `batch ${product.batch}`;
      worst[title] = Math.max(worst[title] ?? 0, product.worst);
      if (product.worst > 1) throw new Error(`${device.adapter} is off by more than the bound`);
    }
  }
  const { rows, cols } = layers[0];
  return { format, layers: `${layers.length} of [${rows}, ${cols}]`, ...worst };
}
