/**
 * The shipped model with other weights in place of its linears, scored on the held-out text beside
 * itself: whoever made the weights, they run as dense f32, through the same plain TypeScript.
 *
 * @module
 */
import { copyFile, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "../lib/checkpoint.ts";
import { compareModels, type Comparison, type LogitsSource } from "../lib/compare.ts";
import { openDevice } from "../lib/device.ts";
import { loadModel } from "../lib/llama.ts";
import { writeSafetensors } from "../lib/safetensors_writer.ts";
import { textWindows } from "../lib/text_windows.ts";
import { openTokenizer } from "../lib/tokenizer.ts";

/** Folder of the model. */
export const MODEL = fileURLToPath(new URL("../examples/tiny-llama", import.meta.url));

/** W' [rows, cols] by the names of their tensors. */
export type Weights = ReadonlyMap<string, Float32Array<ArrayBuffer>>;

/** Scores weights against the model's own. */
export interface Scorer {
  score(weights: Weights): Promise<Comparison>;
  close(): void;
}

/** A scorer on the first windows of the held-out text; what the model itself says is asked once. */
export async function createScorer(windows: number): Promise<Scorer> {
  const device = await openDevice({ binding: "cpu" });
  const dense = await loadModel(device, MODEL);
  const text = await readFile(join(MODEL, "heldout.txt"), "utf8");
  const cut = textWindows(await openTokenizer(MODEL), text, { context: 256, windows });
  const itself = remembering(dense);
  return {
    async score(weights) {
      const folder = await mkdtemp(join(tmpdir(), "afpq-"));
      try {
        await writeModel(folder, weights);
        const model = await loadModel(device, folder);
        const comparison = await compareModels(itself, model, cut);
        model.close();
        return comparison;
      } finally {
        await rm(folder, { recursive: true });
      }
    },
    close() {
      dense.close();
      device.close();
    },
  };
}

/** The same logits for the same ids, computed once. */
function remembering(model: LogitsSource): LogitsSource {
  const known = new Map<ArrayLike<number>, Promise<Float32Array>>();
  return {
    allLogits(ids) {
      const logits = known.get(ids) ?? model.allLogits(ids);
      known.set(ids, logits);
      return logits;
    },
  };
}

/** The model's folder once more, with some of its tensors replaced. */
async function writeModel(folder: string, weights: Weights): Promise<void> {
  for (const name of await readdir(MODEL)) {
    if (name.endsWith(".json")) await copyFile(join(MODEL, name), join(folder, name));
  }
  const { tensors } = await openCheckpoint(MODEL);
  const sources = [...tensors.values()].map((tensor) => {
    const values = weights.get(tensor.name);
    if (!values) return tensor;
    const bytes = () => new Uint8Array(values.buffer);
    return { name: tensor.name, shape: tensor.shape, dtype: "F32" as const, bytes };
  });
  await writeSafetensors(join(folder, "model.safetensors"), sources);
}
