/**
 * What a command is to the command line: the flags and words it understands and its help; options
 * and a context in; a document, rows and lines out. Commands print nothing.
 *
 * @module
 */
import type { Row } from "./report.ts";

/** What every command is given beside its options. */
export interface CommandContext {
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, total: number, what: string, unit?: string) => void;
  /** Told, a line at a time, what is fetched, removed or odd. */
  readonly log: (line: string) => void;
  /** Told text as it is written, a piece at a time. */
  readonly onText: (piece: string) => void;
}

/** What a command comes to. */
export interface CommandResult {
  /** The document of `--json`. */
  readonly json: unknown;
  /** The table for people. */
  readonly rows: readonly Row[];
  /** What stands below the table. */
  readonly lines: readonly string[];
  /** Why the exit code is 1, in one line, although there is something to show. */
  readonly failure?: string;
  /** Whether Ctrl-C ended it early, with something to show. */
  readonly stopped?: boolean;
}

/** One command: its flags by kind, the words it wants in order, and its help. */
export interface CommandUsage {
  readonly words: readonly string[];
  readonly string: readonly string[];
  readonly boolean: readonly string[];
  /** Those of `string` that may be given again and again. */
  readonly collect: readonly string[];
  /** Those of `string` that must be given. */
  readonly required: readonly string[];
  readonly summary: string;
  readonly help: string;
}

/** Flags that every command has. */
export const commonFlags = ["json", "quiet", "debug", "help"] as const;

/** One-letter spellings. */
export const aliases = { out: "o", help: "h", quiet: "q" } as const;

const COMMON_HELP = `
  --json             one JSON document on stdout and nothing else
  -q, --quiet        no table, no progress bar
  --debug            the whole stack where something fails
  -h, --help         this text`;

const quantize: CommandUsage = {
  words: ["MODEL"],
  string: [
    ..."out format group scales codebook bits include exclude".split(" "),
    ..."method calibration windows context binding".split(" "),
  ],
  boolean: ["clip", "act-order", "dry-run", "force"],
  collect: ["include", "exclude"],
  required: ["out"],
  summary: "quantise a checkpoint into a folder",
  help: `afpq quantize MODEL -o OUT [--format nf4-asym] [--group 128]

MODEL is a Hugging Face folder, of which the decoder's linears are quantised, or one
.safetensors file, of which every rank-2 float tensor is. All else is carried over.

  -o, --out OUT      folder to write; it appears whole or not at all
  --format NAME      int4|int3|fp4|fp3|nf4|nf3 and -sym or -asym, eXmY-asym (small floats), or
                     custom:-1,-.5,0,.5,1-asym (up to 16 levels); nf4-asym unless told. Also sf4,
                     af4gN, bof4, bof4sgN, lloyd4gN (N a group's columns), lloyd3,
                     cubic4, cubic3
  --group N          columns that share scales: 16, 32, 64, 128, 256 or row; 128 unless told
  --scales NAME      how scales are stored: f16 unless told; 4 or 8, codes of that many bits under a
                     factor; eXmY-row or eXmY-tensor, such codes with the factor of a row or all; mx
                     or nv, as in MXFP4 (--format fp4-sym --group 32) and NVFP4 (--group 16)
  --clip             search each group for the scales that lose least; costs no bit
  --codebook NAME    lloyd: levels fitted to each tensor; special: for fp4 and fp3, whose code of
                     -0 then stands for the value that helps each tensor most
  --bits N           at most N bits a weight in all, and the recipe of each tensor that loses least
  --include GLOB     quantise the matrices it names in place of the default; may be repeated
  --exclude GLOB     leave out what it names; may be repeated
  --method NAME      rtn: round to nearest, unless told; the others see a text in the model:
                     weighted: scales by what outputs lose; awq: and inputs scaled first;
                     gptq: errors made up for; gptq+awq: both
  --calibration FILE the text; what is stopped goes on from the last whole block when told again
  --windows N        most windows of the text; 128 unless told
  --context N        tokens a window; the model's own context, at most 2048, unless told
  --act-order        gptq: columns that are felt most come first
  --binding NAME     what runs the text: one of afpq devices; cpu unless told, whose result is the
                     same bytes everywhere
  --dry-run          say what would be quantised and how big it gets, write nothing
  --force            replace OUT if it is there
${COMMON_HELP.slice(1)}

examples
  afpq quantize llama-3-8b -o llama-3-8b-nf4
  afpq quantize llama-3-8b -o llama-3-8b-4bit --bits 4.25
  afpq quantize llama-3-8b -o out --format nf3-asym --method gptq --calibration book.txt
  afpq quantize model.safetensors -o packed --format fp4-asym --group 64
  afpq quantize llama-3-8b -o out --include '*.mlp.*' --exclude '*.layers.0.*' --dry-run`,
};

const inspect: CommandUsage = {
  words: ["PATH"],
  string: [],
  boolean: [],
  collect: [],
  required: [],
  summary: "list what a safetensors file or folder holds",
  help: `afpq inspect PATH

PATH is a folder, an index or one .safetensors file, dense or quantised. Only headers are read.
${COMMON_HELP}

examples
  afpq inspect model.safetensors
  afpq inspect llama-3-8b-nf4 --json`,
};

const verify: CommandUsage = {
  words: ["PATH"],
  string: [],
  boolean: [],
  collect: [],
  required: [],
  summary: "find any changed bit in a quantised checkpoint",
  help: `afpq verify PATH

PATH is a folder that afpq quantize wrote. Its files, then its tensors, are held against
afpq.json: none missing, none more, every byte as it was written. Exit code 1 if not.
${COMMON_HELP}

examples
  afpq verify llama-3-8b-nf4`,
};

const dequantize: CommandUsage = {
  words: ["DIR"],
  string: ["out", "dtype"],
  boolean: ["force"],
  collect: [],
  required: ["out"],
  summary: "turn a quantised checkpoint back into plain safetensors",
  help: `afpq dequantize DIR -o OUT [--dtype bf16|f16|f32]

  -o, --out OUT      folder to write; it appears whole or not at all
  --dtype NAME       what the weights become: bf16, f16 or f32; what they were made from unless told
  --force            replace OUT if it is there
${COMMON_HELP.slice(1)}

examples
  afpq dequantize llama-3-8b-nf4 -o llama-3-8b-again --dtype bf16`,
};

const MODEL_FLAGS = ["binding", "accuracy", "tune", "kv", "head"] as const;
const KERNEL_HELP = `
  --accuracy NAME    exact, or fast: a token or two in f16 or 8-bit activations, within bounds
  --matrix-units     three tokens and more by the GPU's matrix units, in f16 within a bound of its
                     own, where Dawn shows any; tries --fast too
  --tune MODE        kernels as they suit most devices (off), as measured before (cached, unless
                     told), or as measured now, which is kept (now)`;
const MODEL_HELP = `
  --binding NAME     webgpu, bun-webgpu, deno, software or cpu; the best there is unless told
  --fast             Dawn's toggles: no checks of bounds in shaders, the same bits${KERNEL_HELP}
  --kv f16|f32       numbers of the cache of keys and values; f16 unless told
  --head NAME        format for the head, or for the embedding where that is the head; keep unless
                     told
  --stats            also what a token costs: dispatches, bytes, bits a weight`;

const generate: CommandUsage = {
  words: ["MODEL"],
  string: ["prompt", "tokens", "temperature", "top-p", "top-k", "seed", ...MODEL_FLAGS],
  boolean: ["chat", "stats", "fast", "matrix-units"],
  collect: [],
  required: ["prompt"],
  summary: "write on from a prompt",
  help: `afpq generate MODEL --prompt TEXT [--tokens 64]

MODEL is a Hugging Face folder, dense or quantised by afpq. The text comes as it is written. Without
--temperature, --top-p, --top-k and --seed the likeliest token is taken; the first step whose two
likeliest differ by less than 1e-3, and may differ on another device, is told on stderr.

  --prompt TEXT      what to write on from
  --tokens N         most tokens to write; 64 unless told
  --temperature T    sample, logits divided by T; 1 unless told, where one of the next three is
                     given; 0 takes the likeliest token whatever else is
  --top-p P          sample among the likeliest tokens that make up P
  --top-k K          sample among the K likeliest tokens
  --seed N           of the samples; 0 unless told
  --chat             the prompt is a message, put into the model's chat template
${MODEL_HELP.slice(1)}${COMMON_HELP}

examples
  afpq generate llama-3-8b-nf4 --prompt 'Once upon a time' --tokens 100
  afpq generate llama-3-8b-nf4 --chat --prompt 'What is AFPQ?' --temperature 0.7 --top-p 0.9
  afpq generate llama-3-8b-nf4 --prompt 'Once upon a time' --json --stats`,
};

const evaluate: CommandUsage = {
  words: ["MODEL"],
  string: ["text", "choices", "context", "windows", "bos", ...MODEL_FLAGS],
  boolean: ["wikitext", "stats", "fast", "matrix-units"],
  collect: [],
  required: [],
  summary: "score a model: perplexity of a text, or multiple choice",
  help: `afpq eval MODEL --text FILE [--context N] [--windows N]
afpq eval MODEL --choices FILE.jsonl|MMLU_DIR

Perplexity: the text is tokenised once as it stands and cut into windows, the tail dropped; each is
scored alone, its first token not. Multiple choice: the likeliest continuation, of MMLU with five
examples before each question, otherwise by its length.

  --text FILE        the text to score
  --context N        tokens a window; the model's own context, at most 2048, unless told
  --windows N        score the first N windows only
  --bos NAME         auto: where the tokenizer puts one; window: before every window; or none
  --wikitext         FILE is raw WikiText: first made what the AFPQ paper scored
  --choices PATH     a JSON-lines file, or a folder of MMLU
${MODEL_HELP.slice(1)}${COMMON_HELP}

examples
  afpq eval llama-3-8b-nf4 --text wiki.test.raw --wikitext
  afpq eval llama-3-8b-nf4 --text book.txt --context 512 --windows 20 --json
  afpq eval llama-3-8b-nf4 --choices mmlu`,
};

const compare: CommandUsage = {
  words: ["A", "B"],
  string: ["text", "context", "windows", "bos", "binding", "accuracy", "tune", "kv"],
  boolean: ["wikitext", "fast", "matrix-units"],
  collect: [],
  required: ["text"],
  summary: "hold one model against another on a text",
  help: `afpq compare A B --text FILE [--context N] [--windows N]

Perplexities of both, and how far the predictions of B are from those of A: mean KL divergence, and
how often both find the same token likeliest.

  --text FILE        the text to score
  --context N        tokens a window; the models' own context, at most 2048, unless told
  --windows N        compare on the first N windows only
  --bos NAME         auto: where the tokenizer puts one; window: before every window; or none
  --wikitext         FILE is raw WikiText: first made what the AFPQ paper scored
  --binding NAME     webgpu, bun-webgpu, deno, software or cpu; the best there is unless told
  --fast             Dawn's toggles: no checks of bounds in shaders, the same bits${KERNEL_HELP}
  --kv f16|f32       numbers of the cache of keys and values; f16 unless told
${COMMON_HELP.slice(1)}

examples
  afpq compare llama-3-8b llama-3-8b-nf4 --text wiki.test.raw --wikitext --windows 20`,
};

const check: CommandUsage = {
  words: ["PATH"],
  string: ["binding", "accuracy", "tune"],
  boolean: ["fast", "matrix-units"],
  collect: [],
  required: [],
  summary: "multiply on the device and compare with the reference",
  help: `afpq check PATH [--binding webgpu|bun-webgpu|deno|software|cpu] [--fast]

Every quantised matrix is multiplied with 1, 2 and 17 tokens, random and one-hot, on the device and
by the TypeScript reference. Errors are told in units of the bound, with the kernels that ran; exit
code 1 above 1.

  --binding NAME     this device only; the best there is unless told
  --fast             Dawn's toggles: no checks of bounds in shaders, the same bits${KERNEL_HELP}
${COMMON_HELP.slice(1)}

examples
  afpq check llama-3-8b-nf4
  afpq check llama-3-8b-nf4 --binding software --json`,
};

const devices: CommandUsage = {
  words: [],
  string: [],
  boolean: [],
  collect: [],
  required: [],
  summary: "list the WebGPU bindings of this machine",
  help: `afpq devices

Opens and self-tests what each binding gives, or says why it cannot.
${COMMON_HELP}

examples
  afpq devices
  afpq devices --json`,
};

/** All commands, in the order of the help. */
export const commands = {
  quantize,
  inspect,
  verify,
  dequantize,
  generate,
  eval: evaluate,
  compare,
  check,
  devices,
} as const;

/** Name of a command. */
export type CommandName = keyof typeof commands;

/** The help of the whole. */
export const generalHelp = `afpq quantises LLM checkpoints and runs them packed on the GPU

usage: afpq COMMAND ...

${
  Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(11)} ${summary}`)
    .join("\n")
}

  afpq COMMAND --help      flags and examples of a command
  afpq --version

examples
  afpq quantize llama-3-8b -o llama-3-8b-nf4 --format nf4-asym --group 128
  afpq generate llama-3-8b-nf4 --prompt 'Once upon a time'`;
