/**
 * Machine code for people who shape kernels: the blocks of a loop, those that cost most first.
 *
 * @module
 */

import type { Block } from "./assembly.ts";
import type { Cost } from "./cost.ts";
import { countAll } from "./inner_loop.ts";

/** One trip of the inner loop: what its blocks cost and hold, and what its instructions come to. */
export function listing({ kernel, format, gpu, loop, products }: Cost): string {
  const title = `${kernel} ${format} on ${gpu}`.replace(/ +/g, " ");
  if (!loop) return `${title}: nothing loads weights`;
  const blocks = byCost(loop.steps).map(({ block, times, valu }) => {
    const { loads, ldsLoads, ldsStores, salu } = countAll(block.code);
    const own = `${valu} VALU, ${salu} SALU, ${loads} loads, ${ldsLoads + ldsStores} LDS`;
    const head = `${block.label}${times > 1 ? ` x ${times}` : ""}: ${own}`;
    return [head, ...block.code.map(({ text, buffer }) => `    ${text}${mark(buffer)}`)].join("\n");
  });
  const head = `${title}: loop at ${loop.label}, ${products ?? "?"} weights a trip`;
  return [head, mix(loop.steps), ...blocks].join("\n\n");
}

function mark(buffer?: string): string {
  return buffer ? `   ; ${buffer}` : "";
}

/** Blocks of a trip, once each with how often they run, the dearest first. */
function byCost(steps: readonly Block[]): { block: Block; times: number; valu: number }[] {
  return [...new Set(steps)].map((block) => ({
    block,
    times: steps.filter((step) => step === block).length,
    valu: countAll(block.code).valu,
  })).sort((a, b) => b.valu * b.times - a.valu * a.times);
}

/** How many of each vector instruction a trip has: `272 v_fma_mix_f32, 88 v_and_b32, ..`. */
function mix(steps: readonly Block[]): string {
  const counts = new Map<string, number>();
  for (const { op } of steps.flatMap(({ code }) => code)) {
    const name = op.replace(/_e(32|64)$/, "");
    if (/^(v|ds|buffer|global)_/.test(op)) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1]).map(([name, n]) => `${n} ${name}`).join(", ");
}
