/**
 * The same bits spent in different ways: two scales, smaller groups, scales as codes, a search.
 *
 * You will see that two f16 scales a group of 128 tie one a group of 64, as they do in the paper's own
 * tables, and that groups of 32 with two scales of 4 bits each, under a factor, leave about 60 % of
 * their error at the same bits; `--bits` finds such recipes by itself.
 *
 *   deno run -A examples/matched_bits.ts [--windows N]
 *   bun examples/matched_bits.ts
 *
 * @module
 */
import { printScores, type ScoredRecipe } from "./scored_recipes.ts";

const recipes: ScoredRecipe[] = [
  { name: "nf4, two scales, g128", format: "nf4-asym", group: 128, paper: 5.66 },
  { name: "nf4, one scale, g64", format: "nf4-sym", group: 64, paper: 5.65 },
  { name: "int4, zero-point, g128", format: "int4-asym", group: 128, paper: 5.72 },
  { name: "--bits 4.25", bits: 4.25 },
  { name: "nf3, two scales, g128", format: "nf3-asym", group: 128, paper: 6.29 },
  { name: "nf3, one scale, g64", format: "nf3-sym", group: 64, paper: 6.26 },
  { name: "int3, zero-point, g128", format: "int3-asym", group: 128, paper: 6.66 },
  { name: "--bits 3.25", bits: 3.25 },
];

await printScores(recipes);
