/**
 * Mean losses of tiny-llama's windows of held-out text, by an independent implementation
 * (golden/README.md).
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { openSafetensors } from "../lib/safetensors.ts";

/** The model's folder, with the text. */
export const TINY = fileURLToPath(new URL("../examples/tiny-llama", import.meta.url));
/** The text, in windows of 256 tokens. */
export const HELDOUT = `${TINY}/heldout.txt`;
/** Formats of which there are golden losses, groups of 128. */
export const GOLDEN_FORMATS = [
  ..."int4-asym fp4-sym fp4-asym nf4-sym nf4-asym nf3-asym fp3-asym".split(" "),
] as const;

/** Mean loss of each of 65 windows in nats, dense or in a format. */
export async function goldenWindows(format: string | null): Promise<Float32Array> {
  const path = fileURLToPath(new URL("golden/tiny-llama.safetensors", import.meta.url));
  const name = format === null ? "text.window_nll" : `quantised.${format}.window_nll`;
  const { tensors } = await openSafetensors(path);
  return new Float32Array((await tensors.find((tensor) => tensor.name === name)!.bytes()).buffer);
}
