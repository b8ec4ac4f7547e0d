/**
 * A safetensors file in, a quantised folder out, checked, and read back.
 *
 * You will see the tensors of the dense file, those of the quantised one (codes and scales beside what
 * was carried over as it is), that `verify` finds the one bit that is then flipped, and how far the
 * weights that come back are from those that went in.
 *
 *   deno run -A examples/files.ts
 *   bun examples/files.ts
 *
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  dequantizeCheckpoint,
  narrow,
  quantizeCheckpoint,
  readSafetensors,
  renderTable,
  verifyCheckpoint,
  widen,
  writeSafetensors,
} from "../mod.ts";
import { temporaryFolder } from "./ending.ts";

const folder = temporaryFolder();
const [model, packed, back] = ["model.safetensors", "packed", "back"].map((n) => join(folder, n));

const w = Float32Array.from({ length: 64 * 256 }, (_, i) => Math.sin(i * i));
await writeSafetensors(model, [
  { name: "layer.weight", dtype: "BF16", shape: [64, 256], bytes: () => narrow(w, "BF16") },
  { name: "layer.bias", dtype: "F32", shape: [64], bytes: () => new Uint8Array(256) },
]);
console.log(await list(model));

const { bitsPerWeight, nmse } = await quantizeCheckpoint(model, packed, { format: "nf4-asym" });
console.log(`quantised: ${bitsPerWeight} bits a weight, weight error ${nmse}\n`);
console.log(await list(packed));

const file = join(packed, "model.safetensors");
console.log("verify:", (await verifyCheckpoint(packed)).ok ? "as it was written" : "changed");
const bytes = await readFile(file);
bytes[bytes.length - 1] ^= 1;
await writeFile(file, bytes);
console.log("verify, one bit flipped:", (await verifyCheckpoint(packed)).ok ? "unseen" : "found");
bytes[bytes.length - 1] ^= 1;
await writeFile(file, bytes);

await dequantizeCheckpoint(packed, back, { dtype: "BF16" });
for await (const tensor of readSafetensors(back)) {
  if (tensor.name !== "layer.weight") continue;
  const largest = widen(await tensor.bytes(), "BF16").reduce((most, v, i) => {
    return Math.max(most, Math.abs(v - w[i]));
  }, 0);
  console.log(`dequantised: ${tensor.name} is off by ${largest} at most`);
}

/** The tensors of a file or folder, as a table. */
async function list(path: string): Promise<string> {
  const rows = [];
  for await (const { name, dtype, shape, begin, end } of readSafetensors(path)) {
    rows.push({ tensor: name, dtype, shape: shape.join(" x "), bytes: end - begin });
  }
  return await renderTable(rows);
}
