/**
 * Costs as tables: for a terminal, and as the section of bench/README.md.
 *
 * @module
 */

import { told } from "../../lib/report.ts";
import { gpus, mesaVersion } from "./compile.ts";
import { type Cost, perProduct } from "./cost.ts";

type Line = Record<string, string>;

/** A cost as a line of a table. */
export function lineOf(cost: Cost): Line {
  const { loop } = cost;
  const per = (count?: number) => perProduct(cost, count)?.toFixed(2) ?? "?";
  const [least, valu] = [per(loop?.leastValu), per(loop?.counts.valu)];
  const operations = per(loop?.counts.operations);
  return {
    kernel: cost.kernel,
    format: cost.format,
    batch: cost.batches.join(", "),
    GPU: cost.gpu,
    "VALU/weight": valu,
    least: least === valu ? "" : least,
    operations: operations === valu ? "" : operations,
    "LDS loads": per(loop?.counts.ldsLoads),
    "weights a trip": cost.products === null ? "?" : told(cost.products),
    "loads in flight": loop ? `${loop.loadsInFlight} (${loop.weightLoadsInFlight})` : "?",
    VGPRs: String(cost.vgprs),
    spills: String(cost.spills),
    scratch: String(cost.scratchBytes),
    waves: `${cost.wavesPerSimd} of ${cost.lanes}`,
    notes: cost.notes.join("; "),
  };
}

/** Lines under aligned titles; a column that is empty throughout is left out. */
export function table(lines: readonly Line[], as: "text" | "markdown" = "text"): string {
  if (lines.length === 0) return "";
  const titles = Object.keys(lines[0]).filter((title) => lines.some((line) => line[title] !== ""));
  const width = (title: string) => Math.max(...[title, ...lines.map((l) => l[title])].map(size), 3);
  const widths = titles.map(width);
  const leans = titles.map((title) => lines.every((line) => /^[-\d.?]*$/.test(line[title])));
  const cells = (words: string[]) =>
    words.map((word, i) => leans[i] ? word.padStart(widths[i]) : word.padEnd(widths[i]));
  const rows = lines.map((line) => cells(titles.map((title) => line[title])));
  if (as === "text") {
    const rule = widths.map((n) => "-".repeat(n));
    return [cells(titles), rule, ...rows].map((row) => row.join("  ").trimEnd()).join("\n");
  }
  const rule = widths.map((n, i) => leans[i] ? `${"-".repeat(n - 1)}:` : `:${"-".repeat(n - 1)}`);
  return [cells(titles), rule, ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

function size(word: string): number {
  return word.length;
}

/** What the second scale, or the zero-point, adds to a weight: lines of asym, sym and their difference. */
export function differences(costs: readonly Cost[]): Line[] {
  return costs.filter(({ format }) => format.endsWith("-asym")).flatMap((asym) => {
    const sym = costs.find((cost) =>
      cost.format === asym.format.replace("-asym", "-sym") && cost.gpu === asym.gpu &&
      cost.kernel === asym.kernel && cost.batches.join() === asym.batches.join()
    );
    const valu = [asym, sym].map((cost) => cost && perProduct(cost, cost.loop?.counts.valu));
    if (valu.some((n) => typeof n !== "number")) return [];
    const [a, s] = valu as number[];
    return [{
      kernel: asym.kernel,
      format: asym.format.replace("-asym", ""),
      GPU: asym.gpu,
      asym: a.toFixed(2),
      sym: s.toFixed(2),
      "asym - sym": (a - s).toFixed(2),
    }];
  });
}

/** Marks around the section, so that it can be found and put in anew. */
export const MARKS = ["<!-- isa -->", "<!-- /isa -->"] as const;

/** The section of bench/README.md; `what` was costed. */
export function section(
  what: string,
  costs: readonly Cost[],
  notLaunched: readonly string[],
): string {
  const [date] = new Date().toISOString().split("T");
  const tables = [...new Set(costs.map(({ gpu }) => gpu))].flatMap((gpu) => {
    const lines = costs.filter((cost) => cost.gpu === gpu).map(lineOf);
    for (const line of lines) delete line.GPU;
    return [
      `**${(gpus as Record<string, string>)[gpu] ?? "AMD"}** (${gpu})`,
      table(lines, "markdown"),
    ];
  });
  const others = notLaunched.length > 0
    ? [
      "Not compiled here, as they are for matrix units or for CPUs:",
      notLaunched.map((name) => `- ${name}`).join("\n"),
    ]
    : [];
  return [
    MARKS[0],
    `${what}.`,
    `Mesa ${mesaVersion()}, ${date}.`,
    ...tables,
    "**What asym adds**, VALU a weight",
    table(differences(costs), "markdown"),
    ...others,
    MARKS[1],
  ].join("\n\n");
}
