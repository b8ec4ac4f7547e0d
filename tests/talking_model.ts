/**
 * A small random network of eight tokens with a tokenizer of the letters a to e: a model that talks,
 * in an instant.
 *
 * @module
 */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CONFIGS, type MadeTensor, madeWeights, writeModel } from "./made_models.ts";
import { document } from "./made_tokenizers.ts";

/** Config of the model; 64 positions. */
export const TALKING_CONFIG = {
  ...CONFIGS["llama"],
  vocab_size: 8,
  bos_token_id: null,
  eos_token_id: null,
};

/** Writes its folder; `change` may spoil a weight first. */
export async function writeTalkingModel(
  folder: string,
  { seed = 1, tokenizer = document(), change = (_: Map<string, MadeTensor>) => {} } = {},
): Promise<void> {
  const tensors = madeWeights(TALKING_CONFIG, seed);
  change(tensors);
  await writeModel(folder, TALKING_CONFIG, tensors);
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
}
