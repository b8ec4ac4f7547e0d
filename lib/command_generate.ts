/**
 * `afpq generate`: writes on from a prompt, told piece by piece as it comes.
 *
 * @module
 */
import { openChatTemplate } from "./chat_template.ts";
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
import { complete, type Generated, type GenerateOptions, warmUp } from "./generate.ts";
import type { LanguageModel } from "./llama.ts";
import type { Args } from "./parse_args.ts";
import { readNumber, text, UsageError } from "./read_options.ts";
import { told } from "./report.ts";
import { createSampler, type SamplerOptions } from "./sampling.ts";
import { quote } from "./strict_json.ts";

/** Options of the command. */
export interface GenerateCommandOptions extends ModelOptions {
  readonly prompt: string;
  /** Most tokens to write. */
  readonly tokens: number;
  /** Whether the prompt is a message for the model's chat template. */
  readonly chat: boolean;
  /** How to sample; null takes the likeliest. */
  readonly sampling: SamplerOptions | null;
  readonly stats: boolean;
}

/** Reads the flags. */
export function readGenerateOptions(parsed: Args): GenerateCommandOptions {
  const number = { whole: false, least: 0 };
  const sampling = {
    temperature: readNumber(parsed, "temperature", number),
    topP: readNumber(parsed, "top-p", { ...number, most: 1 }),
    topK: readNumber(parsed, "top-k", { least: 1 }),
    seed: readNumber(parsed, "seed", { least: 0 }),
  };
  if (sampling.topP === 0) {
    const word = quote(text(parsed["top-p"])!);
    throw new UsageError(`Cannot read ${word} as --top-p must be a number above 0: got ${word}`);
  }
  const given = Object.fromEntries(Object.entries(sampling).filter(([, v]) => v !== undefined));
  const greedy = sampling.temperature === 0 || Object.keys(given).length === 0;
  return {
    ...readModelOptions(parsed),
    prompt: text(parsed.prompt) ?? "",
    tokens: readNumber(parsed, "tokens", { least: 1 }) ?? 64,
    chat: parsed.chat === true,
    sampling: greedy ? null : given,
    stats: parsed.stats === true,
  };
}

/** Most positions of a cache unless the prompt and its continuation need more. */
const CONTEXT = 4096;
/** Above this, all logits are read back rather than the largest found on the device. */
const MOST_CANDIDATES = 64;

/** Runs the command. */
export async function generateCommand(
  options: GenerateCommandOptions,
  context: CommandContext,
): Promise<CommandResult> {
  const prepared = await prepareModel(options);
  const ids = await promptIds(prepared, options);
  const device = await openModelDevice(prepared, context);
  try {
    const positions = Math.min(
      prepared.config.context,
      Math.max(CONTEXT, ids.length + options.tokens),
    );
    const model = await loadPrepared(prepared, device, context, positions);
    try {
      const how = { tokens: options.tokens, signal: context.signal, ...chosenBy(options) };
      await warmUp(model, ids, how);
      return await write(prepared, model, ids, { ...how, stats: options.stats }, context);
    } finally {
      model.close();
    }
  } finally {
    device.close();
  }
}

/** The choice of a token; of few candidates, these alone come back from the device. */
function chosenBy({ sampling }: GenerateCommandOptions): GenerateOptions {
  if (!sampling) return {};
  const { topK = Infinity } = sampling;
  return {
    choose: createSampler(sampling),
    candidates: topK <= MOST_CANDIDATES ? topK : undefined,
  };
}

/** Ids of the prompt, as they will be run; what cannot run is refused here. */
async function promptIds(
  prepared: Prepared,
  { path, prompt, chat }: GenerateCommandOptions,
): Promise<number[]> {
  const { tokenizer, config, checkpoint } = prepared;
  const ids = chat
    ? tokenizer.encode(
      (await openChatTemplate(checkpoint.folder))([{ role: "user", content: prompt }]),
      { bos: false },
    )
    : tokenizer.encode(prompt);
  requireIds(ids, prepared);
  if (ids.length > 0 && ids.length <= config.context) return ids;
  throw new RangeError(
    `Cannot run the prompt with ${
      quote(path)
    } as it must have 1 to ${config.context} tokens, the ` +
      `model's context: got ${ids.length}`,
  );
}

/** Writes, telling the text as it comes and then what there is to say of it. */
async function write(
  prepared: Prepared,
  model: LanguageModel,
  prompt: readonly number[],
  { stats, ...how }: GenerateOptions & { stats: boolean },
  { onText, log }: CommandContext,
): Promise<CommandResult> {
  const done = await complete(model, prepared.tokenizer, prompt, { ...how, onText });
  if (!done.text.endsWith("\n")) onText("\n");
  const facts = modelFacts(prepared, model);
  for (const line of [...tieLines(prepared, done), ...endingLines(model, done)]) log(line);
  if (stats) { for (const line of [rateLine(model, done), ...factLines(facts)]) log(line); }
  const { text, ids, prefillTokensPerSecond, decodeTokensPerSecond } = done;
  const device = deviceFacts(model.device);
  return {
    json: {
      text,
      ids,
      prefillTokensPerSecond,
      decodeTokensPerSecond,
      device,
      ...(stats && { stats: facts }),
    },
    rows: [],
    lines: [],
    stopped: done.ending === "stopped",
  };
}

function tieLines({ tokenizer }: Prepared, { nearTie }: Generated): string[] {
  if (!nearTie) return [];
  const [chosen, other] = nearTie.ids.map((id) => quote(tokenizer.file.tokens[id] ?? `#${id}`));
  return [
    `Step ${nearTie.step} may go otherwise on another device: logits of ${chosen} and ${other} ` +
    `differ by ${told(nearTie.difference)}`,
  ];
}

/** Why there is less than was asked for, where the text does not show it. */
function endingLines({ context }: LanguageModel, { ending, ids }: Generated): string[] {
  if (ending === "context") return [`The text ends as the context of ${context} tokens is full`];
  return ending === "stop" && ids.length === 0 ? ["The first token ends the text"] : [];
}

function rateLine(
  { device }: LanguageModel,
  { ids, prefillTokensPerSecond, decodeTokensPerSecond }: Generated,
): string {
  const rates = [
    `prompt ${told(prefillTokensPerSecond)} tokens/s`,
    ...decodeTokensPerSecond === null ? [] : [`then ${told(decodeTokensPerSecond)}`],
  ];
  return `${ids.length} tokens, ${rates.join(", ")}, on ${deviceText(device)}`;
}
