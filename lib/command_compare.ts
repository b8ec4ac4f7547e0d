/**
 * `afpq compare`: how far the predictions of model B are from those of model A on a text.
 *
 * @module
 */
import type { CommandContext, CommandResult } from "./command.ts";
import { readTextOptions, readWindows, type TextOptions, WINDOW } from "./command_eval.ts";
import {
  loadPrepared,
  type ModelOptions,
  openModelDevice,
  type Prepared,
  prepareModel,
  readModelOptions,
} from "./command_model.ts";
import { compareModels, type Comparison, type ModelScore } from "./compare.ts";
import { deviceText } from "./device_facts.ts";
import type { Args } from "./parse_args.ts";
import { callersPath } from "./read_options.ts";
import { told } from "./report.ts";
import type { Estimate } from "./statistics.ts";
import { quote } from "./strict_json.ts";

/** Options of the command; `path` is model A. */
export interface CompareCommandOptions extends ModelOptions {
  readonly other: string;
  readonly text: TextOptions;
}

/** Reads words and flags. */
export function readCompareOptions(parsed: Args): CompareCommandOptions {
  return {
    ...readModelOptions(parsed),
    other: callersPath(parsed._[1] ?? ""),
    text: readTextOptions(parsed),
  };
}

/** Runs the command. */
export async function compareCommand(
  { other, text, ...options }: CompareCommandOptions,
  context: CommandContext,
): Promise<CommandResult> {
  const a = await prepareModel(options);
  const b = await prepareModel({ ...options, path: other });
  requireSame(a, b);
  const cut = await readWindows(b, { ...text, context: text.context ?? shorterContext(a, b) });
  const device = await openModelDevice(a, context);
  try {
    const modelA = await loadPrepared(a, device, context, cut.context);
    const modelB = await loadPrepared(b, device, context, cut.context);
    const compared = await compareModels(modelA, modelB, cut, {
      signal: context.signal,
      onProgress: (done, total) => context.onProgress(done, total, other, "windows"),
    });
    modelA.close();
    modelB.close();
    return {
      json: documentOf(compared, { a: options.path, b: other }),
      rows: [scoreRow("A", options.path, compared.a), scoreRow("B", other, compared.b)],
      lines: [
        `KL divergence of B from A ${estimated(compared.kl)} nats a token`,
        `same token likeliest ${estimated(compared.top1)} of the time`,
        `B loses ${estimated(compared.nllDifference)} nats a token more than A, window by window`,
        `${compared.tokens} tokens in ${compared.windows} windows of ${compared.context}, ` +
        `${told(compared.seconds)} s, on ${deviceText(device)}`,
      ],
    };
  } finally {
    device.close();
  }
}

/** The context that both models have, at most the one that windows have unless told. */
function shorterContext({ config: a }: Prepared, { config: b }: Prepared): number {
  return Math.min(a.context, b.context, WINDOW);
}

/** Refuses models that do not speak of the same tokens. */
function requireSame(a: Prepared, b: Prepared): void {
  const [tokensA, tokensB] = [a, b].map(({ tokenizer }) => tokenizer.file.tokens);
  const same = a.config.vocab === b.config.vocab && tokensA.length === tokensB.length;
  if (same && tokensA.every((token, id) => token === tokensB[id])) return;
  const [nameA, nameB] = [a, b].map(({ options }) => quote(options.path));
  throw new RangeError(
    `Cannot compare ${nameA} with ${nameB} as they must have the same tokens: got ` +
      (same ? "others" : `${a.config.vocab} and ${b.config.vocab}`),
  );
}

function documentOf({ a, b, kl, top1, tokens }: Comparison, paths: { a: string; b: string }) {
  return { a: { path: paths.a, ...a }, b: { path: paths.b, ...b }, kl, top1, tokens };
}

function scoreRow(model: string, path: string, { perplexity, nll, standardError }: ModelScore) {
  return { model, path, perplexity, nll, "standard error": standardError ?? "" };
}

function estimated({ mean, standardError }: Estimate): string {
  return `${told(mean)}${standardError === null ? "" : ` ± ${told(standardError)}`}`;
}
