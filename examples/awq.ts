/**
 * The two scales of AFPQ inside AWQ: 3 bits, inputs that are felt most scaled up before rounding and
 * extremes clipped by what the output loses, each side of zero for itself where there are two scales.
 *
 * You will see the same table as in gptq.ts, with `weighted` (the clip alone), `awq`, and awq stacked
 * with gptq. The demo's model is small and has no outlying inputs, so the scales of awq bring it
 * nothing beyond the clip.
 *
 *   s_j = m_j^r / sqrt(max s min s), r of 20 by the error of the output; W diag(s) is rounded, 1 / s
 *   goes into the norm or the linear before
 *
 *   deno run -A examples/awq.ts [4 6 | --full]     three minutes: windows to calibrate and to score
 *   bun examples/awq.ts [4 6 | --full]             --full: more of both, half an hour
 *
 * @module
 */
import { renderTable } from "../mod.ts";
import { scoredRows } from "./calibrated_rows.ts";

const rows = await scoredRows([
  { method: "rtn", format: "nf3-asym", group: 128 },
  { method: "weighted", format: "nf3-asym", group: 128 },
  { method: "awq", format: "nf3-asym", group: 128 },
  { method: "awq", format: "nf3-sym", group: 64 },
  { method: "gptq+awq", format: "nf3-asym", group: 128 },
], { calibrate: 4, score: 6 });
console.log(await renderTable(rows));

console.log("The AFPQ paper's own numbers, not ours: LLaMA-2-70B, 3 bits, WikiText-2 perplexity\n");
console.log(
  await renderTable([
    paper("AWQ INT3", [4.1, 3.87, 3.72]),
    paper("AWQ NF3-sym", [4.03, 3.83, 3.71]),
    paper("AWQ NF3-asym", [3.87, 3.74, 3.65]),
    paper("NF3-asym without AWQ", [3.89, 3.82, 3.74]),
  ]),
);
console.log("dense, by the paper: 3.32");

function paper(way: string, [g256, g128, g64]: number[]) {
  return { "the paper's": way, g256, g128, g64 };
}
