/**
 * Clipping without calibration: each side of a group gets the scale at which its weights lose least,
 * not the one that reaches its largest. It costs no bit.
 *
 * You will see weight error with and without the search at the same bits, and that a codebook made for
 * searched scales gains as much again. Two f16 scales a group of 128 tie one a group of 64 either way.
 *
 *   s = argmin over s of sum (w - s level(w / s))^2, each side of 0 apart
 *
 *   deno run -A examples/clip.ts [--windows N]
 *   bun examples/clip.ts
 *
 * @module
 */
import { printScores, type ScoredRecipe } from "./scored_recipes.ts";

const recipes: ScoredRecipe[] = [
  { name: "nf4-asym g128", format: "nf4-asym", paper: 5.66 },
  { name: "nf4-asym g128, clip", format: "nf4-asym", clip: true },
  { name: "lloyd4g128-asym g128, clip", format: "lloyd4g128-asym", clip: true },
  { name: "nf4-sym g64, clip", format: "nf4-sym", group: 64, clip: true },
  { name: "nf3-asym g128", format: "nf3-asym", paper: 6.29 },
  { name: "nf3-asym g128, clip", format: "nf3-asym", clip: true },
  { name: "lloyd3-asym g128, clip", format: "lloyd3-asym", clip: true },
  { name: "nf3-sym g64, clip", format: "nf3-sym", group: 64, clip: true },
];

await printScores(recipes);
