/**
 * Chat messages as the text a model was trained on, by the Jinja template of its folder:
 * `chat_template.jinja`, or `chat_template` of tokenizer_config.json. The seam to
 * `@huggingface/jinja`.
 *
 * A template is a program from a stranger. It runs here in the package's interpreter with a counter
 * on every step: 1,000,000 steps in all, where a loop costs one for each item, any other value one
 * for every 64 characters or 16 items, and `range` makes at most 100,000 items. A template that loops or doubles without end is so
 * refused, at the same place on every machine. It sees the messages, the names of the special
 * tokens, `raise_exception`, `range` and `strftime_now`, nothing else.
 *
 * The text it gives holds its own BOS: encode it with `{ bos: false }`.
 *
 * @module
 */
import { join } from "node:path";
import { loadNpm } from "./npm.ts";
import { readSmall } from "./safetensors.ts";
import { quote } from "./strict_json.ts";
import { tokenName } from "./tokenizer.ts";
import { isObject, type JsonObject, readOptional } from "./tokenizer_file.ts";

/** One turn of a chat; `role` is "system", "user" or "assistant" for most models. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** Messages to text; `addGenerationPrompt` (default true) opens the assistant's turn. */
export type ChatTemplate = (
  messages: readonly ChatMessage[],
  options?: { addGenerationPrompt?: boolean },
) => string;

const MAX_TEMPLATE_CHARACTERS = 50_000;
const MAX_STEPS = 1_000_000;
const MAX_CHARACTERS = 10_000_000;
const MAX_RANGE = 100_000;

/**
 * Opens the chat template of a model's folder.
 *
 * @throws {Error} where the model has none, or it is refused.
 */
export async function openChatTemplate(folder: string): Promise<ChatTemplate> {
  const settings = await readOptional(join(folder, "tokenizer_config.json"));
  const template = await readOwn(join(folder, "chat_template.jinja")) ?? namedTemplate(settings);
  if (template === null) {
    throw new Error(
      `Cannot chat with ${quote(folder)} as it must have a chat template: got neither ` +
        `chat_template.jinja nor one in tokenizer_config.json`,
    );
  }
  return await compileChatTemplate(template, specialTokens(settings));
}

/** The template's own file; null where there is none. */
async function readOwn(path: string): Promise<string | null> {
  const bytes = await readSmall(path, 4 * MAX_TEMPLATE_CHARACTERS).catch((error) => {
    if (error.cause?.code === "ENOENT") return null;
    throw error;
  });
  return bytes && new TextDecoder().decode(bytes);
}

/** `chat_template`: a text, or a list of named ones, of which "default" counts. */
function namedTemplate({ chat_template: template }: JsonObject): string | null {
  if (typeof template === "string") return template;
  if (!Array.isArray(template)) return null;
  const named = template.find((one) => isObject(one) && one.name === "default");
  return isObject(named) && typeof named.template === "string" ? named.template : null;
}

/** `bos_token` and its like, which templates write out. */
function specialTokens(settings: JsonObject): Record<string, string> {
  const names = Object.entries(settings).filter(([key]) => /^\w+_token$/.test(key))
    .map(([key, value]) => [key, tokenName(value)] as const);
  return Object.fromEntries(names.filter((entry): entry is [string, string] => entry[1] !== null));
}

/**
 * Compiles a template.
 *
 * @param names further names it sees, such as `bos_token`
 * @throws {SyntaxError} where it is no Jinja; what it returns throws an Error where a template
 * refuses the messages, and a RangeError out of budget.
 */
export async function compileChatTemplate(
  template: string,
  names: Readonly<Record<string, string>> = {},
): Promise<ChatTemplate> {
  if (template.length > MAX_TEMPLATE_CHARACTERS) {
    throw new RangeError(
      `Cannot use a chat template as it must have at most ${MAX_TEMPLATE_CHARACTERS} characters: ` +
        `got ${template.length}`,
    );
  }
  const jinja = await loadNpm<JinjaPackage>("@huggingface/jinja");
  const program = oneLine("Cannot read the chat template", SyntaxError, () => {
    return jinja.parse(jinja.tokenize(template, { lstrip_blocks: true, trim_blocks: true }));
  });
  return (messages, { addGenerationPrompt = true } = {}) => {
    const scope = new jinja.Environment();
    const given = { ...names, messages, add_generation_prompt: addGenerationPrompt };
    for (const [name, value] of Object.entries({ ...given, ...globals })) scope.set(name, value);
    return oneLine("Cannot fill in the chat template", Error, () => {
      return limited(new jinja.Interpreter(scope)).run(program).value;
    });
  };
}

/** The little of the package that is used here. */
interface JinjaPackage {
  tokenize(template: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown;
  parse(tokens: unknown): Program;
  readonly Environment: new () => { set(name: string, value: unknown): void };
  readonly Interpreter: new (scope: unknown) => Interpreter;
}

interface Program {
  readonly type: string;
  readonly iterable?: Program;
  readonly lhs?: Program;
}

interface Interpreter {
  run(program: Program): { value: string };
  evaluate(node: Program | undefined, scope: unknown): { value?: unknown } | undefined;
}

/** Puts the counter on an interpreter. */
function limited(interpreter: Interpreter): Interpreter {
  let steps = MAX_STEPS;
  const loopedOver = new WeakSet<Program>();
  const evaluate = interpreter.evaluate.bind(interpreter);
  interpreter.evaluate = (node, scope) => {
    const dear = node?.type === "Macro" || node?.type === "CallStatement"; // walks its whole body
    if ((steps -= dear ? 1000 : 1) < 0) refuse(`take at most ${MAX_STEPS} steps`);
    if (node?.iterable) loopedOver.add(node.iterable.lhs ?? node.iterable);
    const result = evaluate(node, scope);
    const value = result?.value;
    if (typeof value === "string") {
      if (value.length > MAX_CHARACTERS) refuse(`write at most ${MAX_CHARACTERS} characters`);
      steps -= value.length >> 6;
    } else if (Array.isArray(value) || value instanceof Map) {
      const items = value instanceof Map ? value.size : value.length;
      steps -= node && loopedOver.has(node) ? items : items >> 4;
    }
    return result;
  };
  return interpreter;
}

function refuse(rule: string): never {
  throw new RangeError(`Cannot fill in the chat template as it must ${rule}: got more`);
}

/** What every template may call. */
const globals = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  raise_exception(message: unknown): never {
    throw new Error(String(message));
  },
  range,
  strftime_now: (format: string) => strftime(new Date(), format),
};

function range(...bounds: number[]): number[] {
  const [start, stop, step = 1] = bounds.length < 2 ? [0, bounds[0]] : bounds;
  const count = Math.ceil((stop - start) / step);
  if (!(count <= MAX_RANGE)) refuse(`count at most ${MAX_RANGE} in a range`);
  return Array.from({ length: Math.max(0, count) }, (_, i) => start + i * step);
}

const MONTHS =
  "January February March April May June July August September October November December"
    .split(" ");

/** A date by the few letters that templates use: %Y %m %d %b %B %H %M. */
export function strftime(date: Date, format: string): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const month = MONTHS[date.getMonth()];
  const letters: Record<string, string> = {
    Y: String(date.getFullYear()),
    m: two(date.getMonth() + 1),
    d: two(date.getDate()),
    b: month.slice(0, 3),
    B: month,
    H: two(date.getHours()),
    M: two(date.getMinutes()),
    "%": "%",
  };
  return format.replace(/%(.)/g, (all, letter) => letters[letter] ?? all);
}

/** Tells of a failure in one line that begins with `what`. */
function oneLine<T>(what: string, Kind: ErrorConstructor, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    const { message } = cause as Error;
    if (message.startsWith("Cannot fill in")) throw cause;
    const line = message.split("\n", 1)[0].slice(0, 200);
    throw new Kind(`${what} as it must be sound: got ${quote(line, 200)}`, { cause });
  }
}
