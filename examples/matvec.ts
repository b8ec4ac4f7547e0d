/**
 * y = W x with W packed to 4 bits, on this machine's GPU and in plain TypeScript.
 *
 * You will see which device it is, the first outputs of both beside those of the dense weights, and
 * the worst output in units of the bound: at most 1 if the device computes right. How far packed is
 * from dense is the price of 4 bits, not of the kernel.
 *
 *   bound   16 * 2^-24 * sum |x| |level| max(s_pos, s_neg), an output
 *
 *   deno run --allow-ffi examples/matvec.ts      without the flag: through navigator.gpu
 *   bun examples/matvec.ts
 *
 * @module
 */
import {
  bitsPerWeight,
  matvec,
  openDevice,
  quantize,
  reference,
  renderTable,
  worstOf,
} from "../mod.ts";

const rows = 1024, cols = 1000; // a row ends inside a group and inside a unit of 32
const w = Float32Array.from({ length: rows * cols }, (_, i) => Math.sin(i * i) + 0.3);
const x = Float32Array.from({ length: cols }, (_, i) => 1 + Math.cos(i * 0.37));

const q = quantize(w, { rows, cols, format: "nf4-asym", group: 128, name: "W" });
console.log(`W [${rows}, ${cols}] as ${q.format.name}: ${bitsPerWeight(q)} bits a weight`);

const device = await openDevice({ log: (line) => console.error(line) });
console.log(`on ${device.adapter}, ${device.backend} through binding "${device.binding}"\n`);

const y = await matvec(device, q, x);
const wanted = reference.matvec(q, x);
const bytes = new Uint8Array(w.buffer);
const dense = reference.denseMatvec({ name: "W", rows, cols, dtype: "F32", bytes }, x);
console.log(
  await renderTable(
    [0, 1, 2, 3, 4].map((row) => ({
      row: String(row),
      "device, packed": y[row],
      "TypeScript, packed": wanted[row],
      "TypeScript, dense": dense[row],
    })),
  ),
);
console.log(`worst output: ${worstOf(y, wanted, reference.matvecBound(q, x))} of the bound`);
device.close();
