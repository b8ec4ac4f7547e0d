/**
 * `afpq eval`: the perplexity of a text, or the share of questions that are answered right.
 *
 * @module
 */
import { readChoices } from "./choices.ts";
import type { CommandContext, CommandResult } from "./command.ts";
import {
  factLines,
  loadPrepared,
  modelFacts,
  type ModelOptions,
  openModelDevice,
  type Prepared,
  prepareModel,
  readModelOptions,
  requireIds,
} from "./command_model.ts";
import { deviceFacts, deviceText } from "./device_facts.ts";
import { evaluateChoices, type EvaluateOptions, evaluateText } from "./evaluate.ts";
import type { LanguageModel } from "./llama.ts";
import type { Args } from "./parse_args.ts";
import { callersPath, readNumber, readOneOf, readText, text, UsageError } from "./read_options.ts";
import { told } from "./report.ts";
import { quote } from "./strict_json.ts";
import { type TextWindows, textWindows, wikitextText } from "./text_windows.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What text is scored, and how it is cut. */
export interface TextOptions {
  readonly text: string;
  /** Tokens a window; the model's own context, at most 2048, unless told. */
  readonly context?: number;
  readonly windows?: number;
  readonly bos: "auto" | "window" | "none";
  /** Whether the file is raw WikiText. */
  readonly wikitext: boolean;
}

/** Options of the command: a text, or questions. */
export interface EvalCommandOptions extends ModelOptions {
  readonly text: TextOptions | null;
  /** A .jsonl file or a folder of MMLU. */
  readonly choices: string | null;
  readonly stats: boolean;
}

/** Longest window unless told: that of the AFPQ paper. */
export const WINDOW = 2048;

/** Flags that say how a text is cut. */
const TEXT_FLAGS = ["context", "windows", "bos", "wikitext"];

/** Reads the flags. */
export function readEvalOptions(parsed: Args): EvalCommandOptions {
  const choices = text(parsed.choices);
  const about = text(parsed.text);
  if ((choices === undefined) === (about === undefined)) {
    throw new UsageError(
      `Cannot run eval as either --text or --choices must be given: got ${
        about === undefined ? "none" : "both"
      }; see afpq eval --help`,
    );
  }
  const idle = TEXT_FLAGS.find((flag) => parsed[flag] !== undefined && parsed[flag] !== false);
  if (about === undefined && idle) {
    throw new UsageError(`Cannot run eval with --${idle} as it is for --text: got --choices`);
  }
  return {
    ...readModelOptions(parsed),
    text: about === undefined ? null : readTextOptions(parsed),
    choices: choices === undefined ? null : callersPath(choices),
    stats: parsed.stats === true,
  };
}

/** Reads the flags of a text. */
export function readTextOptions(parsed: Args): TextOptions {
  return {
    text: callersPath(text(parsed.text) ?? ""),
    context: readNumber(parsed, "context", { least: 2 }),
    windows: readNumber(parsed, "windows", { least: 1 }),
    bos: readOneOf("bos", text(parsed.bos), ["auto", "window", "none"]) ?? "auto",
    wikitext: parsed.wikitext === true,
  };
}

/** Runs the command. */
export async function evalCommand(
  options: EvalCommandOptions,
  context: CommandContext,
): Promise<CommandResult> {
  const prepared = await prepareModel(options);
  const job = options.text
    ? await textJob(prepared, options.text)
    : await choicesJob(prepared, options.choices!);
  const device = await openModelDevice(prepared, context);
  try {
    const model = await loadPrepared(prepared, device, context, job.context);
    try {
      const { document, rows, lines } = await job.score(model, {
        signal: context.signal,
        onProgress: (done, total) => context.onProgress(done, total, options.path, job.unit),
      });
      const stats = options.stats ? modelFacts(prepared, model) : undefined;
      for (const line of stats ? factLines(stats) : []) context.log(line);
      const json = { ...document, device: deviceFacts(device), ...(stats && { stats }) };
      return { json, rows, lines: [...lines, `scored on ${deviceText(device)}`] };
    } finally {
      model.close();
    }
  } finally {
    device.close();
  }
}

/** What is to be scored, checked as far as it goes without the weights. */
interface Job {
  /** Positions that the cache needs. */
  readonly context: number;
  readonly unit: string;
  score(
    model: LanguageModel,
    options: EvaluateOptions,
  ): Promise<Pick<CommandResult, "rows" | "lines"> & { document: Record<string, unknown> }>;
}

async function textJob(prepared: Prepared, options: TextOptions): Promise<Job> {
  const cut = await readWindows(prepared, options);
  return {
    context: cut.context,
    unit: "windows",
    async score(model, how) {
      const { nll, perplexity, tokens, windows, context, standardError, seconds, ...more } =
        await evaluateText(model, cut, how);
      const { perplexityStandardError } = more;
      const error = (value: number | null) => value === null ? "" : ` ± ${told(value)}`;
      const lines = [
        `perplexity ${told(perplexity)}${error(perplexityStandardError)}, ` +
        `${told(nll)}${error(standardError)} nats a token`,
        `${tokens} tokens in ${windows} windows of ${context}, ${told(seconds)} s`,
      ];
      const document = { nll, perplexity, tokens, windows, context, standardError, seconds };
      return { document, rows: [], lines };
    },
  };
}

/**
 * A file as windows of ids that the model can run.
 *
 * @throws {Error} if it cannot be read, is no UTF-8, or is shorter than a window
 */
export async function readWindows(
  prepared: Prepared,
  { text, context, windows, bos, wikitext }: TextOptions,
): Promise<TextWindows> {
  const { config, tokenizer } = prepared;
  const length = context ?? Math.min(config.context, WINDOW);
  if (length > config.context) {
    throw new RangeError(
      `Cannot score windows with ${quote(prepared.options.path)} as they must fit its context of ` +
        `${config.context} tokens: got ${length}`,
    );
  }
  const raw = await readText(text);
  const cut = textWindows(tokenizer, wikitext ? wikitextText(raw) : raw, {
    context: length,
    windows,
    bos,
  });
  for (const window of cut.windows) requireIds(window, prepared);
  return cut;
}

async function choicesJob(prepared: Prepared, path: string): Promise<Job> {
  const { config, tokenizer } = prepared;
  const items = await readChoices(path);
  const context = Math.min(config.context, WINDOW);
  return {
    context,
    unit: "questions",
    async score(model, how) {
      const checked = checkedTokenizer(prepared, tokenizer);
      const { accuracy, standardError, items: count, subjects, seconds } = await evaluateChoices(
        model,
        checked,
        items,
        { ...how, context },
      );
      const error = standardError === null ? "" : ` ± ${told(standardError)}`;
      return {
        document: { accuracy, standardError, items: count, subjects, seconds },
        rows: subjects.map(({ standardError, ...row }) => ({
          ...row,
          "standard error": standardError ?? "",
        })),
        lines: [`accuracy ${told(accuracy)}${error} over ${count} questions, ${told(seconds)} s`],
      };
    },
  };
}

/** The tokenizer, held to the model's vocabulary as it goes. */
function checkedTokenizer(prepared: Prepared, { encode }: Tokenizer): Pick<Tokenizer, "encode"> {
  return {
    encode(text, options) {
      const ids = encode(text, options);
      requireIds(ids, prepared);
      return ids;
    },
  };
}
