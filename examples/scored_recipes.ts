/**
 * What the examples about accuracy share: the shipped model quantised by several recipes, each scored on
 * the same held-out windows, as rows of one table.
 *
 *   bits/weight    codes, scales, factors and codebooks, over the decoder's linears
 *   weight error   sum((w' - w)^2) / sum(w^2)
 *   over dense     what the recipe adds to the mean loss, nats a token, paired window by window; `+-`
 *                  is the standard error of that difference, of few windows a rough one
 *   paper, 7B      perplexity that the AFPQ paper reports of LLaMA-2 7B on WikiText-2 (dense 5.47):
 *                  another model and text, beside ours for the order and not to be compared with it
 *
 * Windows are three, or what `--windows N` says; 65 are all.
 *
 * @module
 */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  type Device,
  estimateDifference,
  evaluateText,
  loadModel,
  openDevice,
  openTokenizer,
  quantizeCheckpoint,
  type QuantizeCheckpointOptions,
  renderTable,
  type Row,
  type TextScore,
  type TextWindows,
  textWindows,
} from "../mod.ts";
import { askedCounts } from "./asked_counts.ts";
import { temporaryFolder } from "./ending.ts";
import { tinyLlamaFolder } from "./tiny_llama.ts";

/** How to quantise, and what the paper has of it. */
export interface ScoredRecipe extends QuantizeCheckpointOptions {
  readonly name: string;
  readonly paper?: number;
}

/** What every such table wants said. */
const NOTES = `
paper, 7B: what the AFPQ paper reports of LLaMA-2 7B on WikiText-2, not ours.
Two scales a group of 128 tie one scale a group of 64: they cost the same bits.`;

/** Prints how dense and every recipe score. */
export async function printScores(recipes: readonly ScoredRecipe[]): Promise<void> {
  console.log(await renderTable(await scoreRecipes(recipes)) + NOTES);
}

/** Scores dense and every recipe; one row each. */
async function scoreRecipes(recipes: readonly ScoredRecipe[]): Promise<Row[]> {
  const { windows } = askedCounts({ windows: 3 });
  const path = await tinyLlamaFolder();
  const work = temporaryFolder();
  const device = await openDevice({ binding: "cpu" }); // without a binding: the best there is
  try {
    const text = await readFile(join(path, "heldout.txt"), "utf8");
    const tokenizer = await openTokenizer(path);
    const cut = textWindows(tokenizer, text, { context: 256, windows });
    const score = (folder: string) => scoreFolder(device, folder, cut);
    const dense = await score(path);
    const rows: Row[] = [row("dense", 16, 0, dense.perplexity, 0, 0, 5.47)];
    for (const { name, paper, ...options } of recipes) {
      const folder = join(work, String(rows.length));
      const { bitsPerWeight, nmse } = await quantizeCheckpoint(path, folder, options);
      const { perplexity, windowNll } = await score(folder);
      const { mean, standardError } = estimateDifference(dense.windowNll, windowNll);
      rows.push(row(name, bitsPerWeight, nmse!, perplexity, mean, standardError, paper));
      await rm(folder, { recursive: true });
    }
    return rows;
  } finally {
    device.close();
  }
}

/** The losses of a model's windows. */
export async function scoreFolder(
  device: Device,
  folder: string,
  cut: TextWindows,
): Promise<TextScore> {
  const model = await loadModel(device, folder);
  const scored = await evaluateText(model, cut);
  model.close();
  return scored;
}

function row(
  recipe: string,
  bits: number,
  error: number,
  perplexity: number,
  over: number,
  within: number | null,
  paper?: number,
): Row {
  return {
    recipe,
    "bits/weight": bits,
    "weight error": error,
    perplexity,
    "over dense": over,
    "+-": within ?? "",
    "paper, 7B": paper ?? "",
  };
}
