/**
 * The two scales of AFPQ inside GPTQ: 3 bits, plain rounding beside GPTQ, one scale beside two.
 *
 * You will see bits a weight (scales included), weight error, how much of the output error of plain
 * rounding the worst of 42 matrices keeps, and perplexity on held-out text with its paired difference
 * to the dense model. GPTQ makes the weight error larger and the output error smaller: that is the
 * point of it. One scale a group of 64 costs what two cost at 128, and comes to the same within the
 * error.
 *
 *   q_j = round(w_j), and what was lost goes to the columns after j, by H^-1 of the inputs
 *
 *   deno run -A examples/gptq.ts [8 6 | --full]      about a minute: windows to calibrate and to score
 *   bun examples/gptq.ts [8 6 | --full]              --full: more of both, some ten minutes
 *
 * @module
 */
import { renderTable } from "../mod.ts";
import { scoredRows } from "./calibrated_rows.ts";

const rows = await scoredRows([
  { method: "rtn", format: "nf3-asym", group: 128 },
  { method: "gptq", format: "nf3-asym", group: 128 },
  { method: "gptq", format: "nf3-sym", group: 64 },
]);
console.log(await renderTable(rows));

console.log("The AFPQ paper's own numbers, not ours: LLaMA-2-70B, 3 bits, WikiText-2 perplexity\n");
console.log(
  await renderTable([
    paper("GPTQ INT3", [3.88, 3.77, 3.67]),
    paper("GPTQ NF3-sym", [3.77, 3.72, 3.67]),
    paper("GPTQ NF3-asym", [3.73, 3.66, 3.61]),
    paper("NF3-asym without GPTQ", [3.89, 3.82, 3.74]),
  ]),
);
console.log("dense, by the paper: 3.32");

function paper(way: string, [g256, g128, g64]: number[]) {
  return { "the paper's": way, g256, g128, g64 };
}
