/**
 * A text as windows of token ids, by the rule that perplexities are compared by: the text is
 * tokenised once, as it stands, and cut into windows of `context` tokens that do not overlap; the
 * tail is dropped. Each window is scored alone, its first token not at all: context - 1 predictions.
 *
 * BOS: `auto` puts one at the start of the text if the tokenizer adds one (so in the first window
 * only), `none` puts none, `window` puts one at the start of every window, in place of a token.
 *
 * `wikitextText` rebuilds the text that the papers score from the raw file of WikiText: they read it
 * line by line, each with its newline ("\n", also for "\r\n"), lines of blanks as the empty string, and
 * join the lines with two newlines.
 *
 * @module
 */
import type { Tokenizer } from "./tokenizer.ts";

/** How a text is cut. */
export interface TextWindowsOptions {
  /** Tokens a window. */
  readonly context: number;
  /** The most windows; all by default. */
  readonly windows?: number;
  readonly bos?: "auto" | "window" | "none";
}

/** Windows of ids, `context` each. */
export interface TextWindows {
  readonly windows: readonly Uint32Array[];
  readonly context: number;
  /** Of the whole text, with its BOS. */
  readonly textTokens: number;
}

/**
 * Cuts a text into windows.
 *
 * @throws {RangeError} where the text is shorter than one window, or the tokenizer has no BOS to put.
 */
export function textWindows(
  tokenizer: Pick<Tokenizer, "encode" | "bos">,
  text: string,
  { context, windows: most = Infinity, bos = "auto" }: TextWindowsOptions,
): TextWindows {
  if (!Number.isInteger(context) || context < 2) {
    throw new RangeError(`Cannot cut a text as its windows must have 2 tokens: got ${context}`);
  }
  if (!(most >= 1)) {
    throw new RangeError(`Cannot cut a text as there must be 1 window or more: got ${most}`);
  }
  const first = bos === "window" ? requireBos(tokenizer) : [];
  const ids = tokenizer.encode(text, bos === "auto" ? {} : { bos: false });
  const step = context - first.length;
  const count = Math.min(most, Math.floor(ids.length / step));
  if (count === 0) {
    throw new RangeError(
      `Cannot score the text as it must fill a window of ${context} tokens: got ${ids.length}`,
    );
  }
  const windows = Array.from({ length: count }, (_, i) => {
    return Uint32Array.from([...first, ...ids.slice(i * step, (i + 1) * step)]);
  });
  return { windows, context, textTokens: ids.length };
}

function requireBos({ bos }: Pick<Tokenizer, "bos">): number[] {
  if (bos !== null) return [bos];
  throw new RangeError(
    "Cannot begin each window with a BOS as the tokenizer must have one: got none",
  );
}

/**
 * WikiText's raw file as the papers read it.
 *
 * @example
 * ```ts
 * import { wikitextText } from "./text_windows.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(wikitextText(" \n = Title = \n \n Text .\n"), "\n\n = Title = \n\n\n\n\n Text .\n");
 * ```
 */
export function wikitextText(raw: string): string {
  const lines = raw.replaceAll("\r\n", "\n").match(/[^\n]*\n|[^\n]+$/g) ?? [];
  return lines.map((line) => line.trim() === "" ? "" : line).join("\n\n");
}
