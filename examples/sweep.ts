/**
 * Formats, groups and storages of scales, from the paper's to those of others, on a real model.
 *
 * You will see a row for each with bits a weight, weight error and loss on text it has not seen. MXFP4
 * (powers of two a block of 32) and NVFP4 (E4M3 a block of 16) have one scale, rounded as their authors
 * say; where scales are searched for, the row says so. Two scales a group of 128 tie one a group of 64,
 * at the same bits.
 *
 *   deno run -A examples/sweep.ts [--windows N]
 *   bun examples/sweep.ts
 *
 * @module
 */
import { printScores, type ScoredRecipe } from "./scored_recipes.ts";

const searched = { clip: true } as const;
const recipes: ScoredRecipe[] = [
  { name: "int4-asym g128", format: "int4-asym", paper: 5.72 },
  { name: "fp4-asym g128", format: "fp4-asym", paper: 5.7 },
  { name: "nf4-sym g128", format: "nf4-sym", paper: 5.66 },
  { name: "nf4-asym g128", format: "nf4-asym", paper: 5.66 },
  { name: "nf4-sym g64", format: "nf4-sym", group: 64, paper: 5.65 },
  { name: "af4g64-sym g64", format: "af4g64-sym", group: 64 },
  { name: "bof4-sym g64", format: "bof4-sym", group: 64 },
  { name: "sf4-asym g128", format: "sf4-asym" },
  { name: "MXFP4", format: "fp4-sym", group: 32, scales: "mx" },
  { name: "NVFP4", format: "fp4-sym", group: 16, scales: "nv" },
  {
    name: "4-bit scales, g32, search",
    format: "lloyd4g32-asym",
    group: 32,
    scales: 4,
    ...searched,
  },
  {
    name: "4-bit scales, g16, search",
    format: "lloyd4g16-asym",
    group: 16,
    scales: 4,
    ...searched,
  },
  { name: "fp3-asym g128", format: "fp3-asym", paper: 6.63 },
  { name: "nf3-asym g128", format: "nf3-asym", paper: 6.29 },
  { name: "nf3-sym g64", format: "nf3-sym", group: 64, paper: 6.26 },
  {
    name: "3 bits, 4-bit scales, g32, search",
    format: "lloyd3-asym",
    group: 32,
    scales: 4,
    ...searched,
  },
];

await printScores(recipes);
